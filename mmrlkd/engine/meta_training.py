"""Training a meta-policy on recorded tasks, so that it can be resumed."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmrlkd.distillation.selection.recorded import RecordedEnvironment
from mmrlkd.files import load_file
from mmrlkd.rl.meta import MetaLearner, check_shots

from .atomic import write_atomically

#: Files in the work dir.
CHECKPOINT, LOG = 'checkpoint.pth', 'log.json'


@dataclass(frozen=True)
class MetaTraining:
    """The outer loop over tasks.

    Every iteration has a seed of its own, so that a training continues from
    its last checkpoint to the same result.

    Attributes:
        learner: with its policy.
        tasks: that are learnt from, by name.
        others: that are only tested, by name.
        iterations: outer steps.
        interval: iterations between tests, checkpoints and lines of the log.
        seed: of everything that is drawn.
        identity: tells a training from others; numbers, strings, containers.
    """
    learner: MetaLearner
    tasks: Mapping[str, RecordedEnvironment]
    others: Mapping[str, RecordedEnvironment]
    iterations: int
    interval: int
    seed: int
    identity: Any = None

    def run(self, folder: Path | None = None,
            report: Callable[[int, Mapping[str, Any]], None] | None = None
            ) -> list[dict[str, Any]]:
        """Train, or continue.

        Args:
            folder: of checkpoint and log; None keeps neither.
            report: told the iterations done and the log's newest line.

        Returns:
            The log: the losses of each interval's last iteration, and the
            regret of each task before and after it was adapted to.

        Raises:
            ValueError: the folder holds another training, or a task has too
                few images.
        """
        for task in (*self.tasks.values(), *self.others.values()):
            check_shots(type(self.learner).__name__, self.learner.shots, task,
                        spared=1)
        log = self._restored(folder)
        done = log[-1]['iteration'] if log else 0
        with torch.random.fork_rng(devices=[]):
            if not log:
                log.append(self._line(0))
            for i in range(done, self.iterations):
                torch.manual_seed(self.seed * 1_000_003 + i + 1)
                self.learner.set_progress(i / self.iterations)
                stats = self.learner.update(list(self.tasks.values()))
                end = i + 1
                if end % self.interval == 0 or end == self.iterations:
                    log.append(self._line(end) | {
                        name: float(value)
                        for name, value in vars(stats).items()})
                    self._save(folder, log)
                if report is not None:
                    report(end, log[-1])
        return log

    def _line(self, iteration: int) -> dict[str, Any]:
        return dict(iteration=iteration, regret={
            name: self._test(task) for name, task in
            (*self.tasks.items(), *self.others.items())})

    def _test(self, task: RecordedEnvironment) -> dict[str, float]:
        """Mean regret on images that were not adapted to, the same ones each
        time."""
        torch.manual_seed(self.seed)
        order = torch.randperm(task.batch_size).to(task.device)
        learner = self.learner
        support, rest = (task.take(part) for part in
                         order.tensor_split([learner.shots]))
        before, after = (float(rest.regret(learner.fast_adapt(
            support, learner.shots, steps)).mean())
            for steps in (0, learner.steps))
        return dict(before=before, after=after)

    def _save(self, folder: Path | None, log: list[dict[str, Any]]) -> None:
        if folder is None:
            return
        buffer = io.BytesIO()
        torch.save(dict(
            policy=self.learner.policy.state_dict(),
            learner=self.learner.state_dict(), log=log,
            identity=json.dumps(self.identity, sort_keys=True)), buffer)
        write_atomically(folder / CHECKPOINT, buffer.getvalue())
        write_atomically(folder / LOG, json.dumps(log, indent=1).encode())

    def _restored(self, folder: Path | None) -> list[dict[str, Any]]:
        """The log so far; learner and policy continue where it ends."""
        if folder is None or not (folder / CHECKPOINT).is_file():
            return []
        state = load_file(folder / CHECKPOINT)
        if state['identity'] != json.dumps(self.identity, sort_keys=True):
            raise ValueError(
                f'{folder / CHECKPOINT} is of a training with other settings '
                'or recordings; accepted: the same ones, or another work dir.')
        self.learner.policy.load_state_dict(state['policy'])
        self.learner.load_state_dict(state['learner'])
        return list(state['log'])
