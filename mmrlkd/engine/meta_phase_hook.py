"""Meta-learning, once the student of a run is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only

from mmrlkd.arguments import check_integer, refuse
from mmrlkd.distillation.recording import (
    augmented,
    efficiency_of,
    record_images,
    reward_config,
)
from mmrlkd.distillation.selection.meta_policy import MetaPolicy
from mmrlkd.distillation.selection.policies import TokenPolicy
from mmrlkd.distillation.selection.recorded import (
    RecordedEnvironment,
    load_recording,
)
from mmrlkd.distillation.selection.selectors import PolicySelector
from mmrlkd.registry import HOOKS, META_LEARNERS
from mmrlkd.rl.meta import ExactReward, MetaLearner, check_shots

from .atomic import write_atomically
from .distiller_hook import DistillerHook, distiller_of
from .meta_training import CHECKPOINT, MetaTraining

#: In the run's work dir.
FOLDER, RESULT = 'meta', 'meta.pth'
OWN = 'this run'


@HOOKS.register_module()
class MetaPhaseHook(DistillerHook):
    """Learns a meta-policy once the student is trained.

    It begins with the weights that the run's policy shares with every task, and
    learns from the run's own student, recorded on training images, and from
    other tasks' recordings. The work dir gets ``meta/meta.pth``, for
    ``model.selector.init`` of another run, and ``meta/log.json``; the run's own
    policy stays.

    Args:
        tasks: recordings of ``tools/record_environment.py``.
        learner: config of a meta-learner.
        iterations: outer steps.
        images: of the run's own task; more than the learner's ``shots``.
        interval: iterations between tests and checkpoints.
    """

    def __init__(self, tasks: Sequence[str], learner: dict[str, Any],
                 iterations: int = 100, images: int = 400,
                 interval: int = 20) -> None:
        owner = type(self).__name__
        self.tasks = list(tasks)
        self.learner = learner
        self.iterations = check_integer(owner, 'iterations', iterations, 1)
        self.images = check_integer(owner, 'images', images, 2)
        self.interval = check_integer(owner, 'interval', interval, 1)

    def before_train(self, runner) -> None:
        """Check all that is needed after the training; what an earlier run in this
        work dir has left goes, unless this one resumes it.

        Raises:
            ValueError: the policy does not fit other tasks, a task has another
                reward, or one has too few images.
        """
        selector = distiller_of(runner).selector
        if not isinstance(selector, PolicySelector) or not isinstance(
                selector.policy, TokenPolicy):
            refuse('MetaPhaseHook', 'model.selector',
                   runner.cfg.model.selector.type,
                   "a PolicySelector with policy=dict(type='mmrlkd.TokenPolicy')")
        self._reward = reward_config(runner.cfg, selector.reward)
        self._others = {}
        for path in self.tasks:
            recording, header = load_recording(path)
            if header.reward != self._reward:
                refuse('MetaPhaseHook', 'tasks', path,
                       f"tasks with the run's reward {self._reward}; this one "
                       f'has {header.reward}')
            self._others[path] = RecordedEnvironment(
                recording, header.space, selector.horizon, header.efficiency)
        self._learner = self._build(selector.policy)
        shots, owner = self._learner.shots, type(self._learner).__name__
        if self.images <= shots:
            refuse('MetaPhaseHook', 'images', self.images,
                   f"more than the learner's shots={shots}")
        for task in self._others.values():
            check_shots(owner, shots, task, spared=1)
        if not runner._resume:
            master_only(Path(runner.work_dir, FOLDER, CHECKPOINT).unlink)(
                missing_ok=True)

    def after_train(self, runner) -> None:
        model = distiller_of(runner)
        selector = model.selector
        assert isinstance(selector.policy, TokenPolicy)
        # As the training has left it.
        self._learner.policy.shared.load_state_dict(
            selector.policy.shared.state_dict())
        batches = next(augmented(
            runner.cfg, runner.train_dataloader.dataset, self.images,
            runner.seed, 1))
        own = RecordedEnvironment(
            record_images(model, selector.reward, batches),
            model.distillation.space, selector.horizon, efficiency_of(model))
        folder = Path(runner.work_dir, FOLDER)
        training = MetaTraining(
            self._learner, {**self._others, OWN: own}, {}, self.iterations,
            self.interval, runner.seed)
        log = training.run(folder)
        master_only(write_atomically)(folder / RESULT, MetaPolicy(
            self._learner.policy, self._reward, selector.horizon,
            self._learner.lr, (*self._others, OWN)).to_bytes())
        regrets = ', '.join(
            f"{name} {each['before']:.3f} → {each['after']:.3f}"
            for name, each in log[-1]['regret'].items())
        runner.logger.info(
            f'{folder / RESULT} is written; regret before → after '
            f'{self._learner.steps} updates: {regrets}.')

    def _build(self, policy: TokenPolicy) -> MetaLearner:
        with torch.random.fork_rng(devices=[]):  # no weight stays as drawn
            shared = TokenPolicy(**policy.architecture)
        return META_LEARNERS.build(dict(
            self.learner, policy=shared, objective=ExactReward()))
