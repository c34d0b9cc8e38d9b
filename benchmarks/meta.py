"""What meta-learning costs: a meta-iteration, and episodes with and without images.

    python benchmarks/meta.py [--json OUT] [--rounds 20] [--tasks 1 3 …]

The floor plays the episodes of a batch from a recorded environment. ``live`` plays the
same with images: it runs student and teacher, computes all losses and the reward's
gradients (``AlignmentReward``), as a training step does, and is not repeated for each
number of tasks. The others are one outer step each, from 100 shots and 5 inner steps,
of a policy with the shape of configs/meta/demo.py: joint training, Reptile, first-order
MAML and MAML with second derivatives. Detectors are those of ``step_overhead.py``,
images have 128 px, and ``_measure.py`` says how all are measured.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from _measure import Benchmark, Sweep, run
from mmengine.registry import init_default_scope
from step_overhead import make_batch, retinanet

from mmrlkd.config.meta import build_learner
from mmrlkd.distillation.recording import record
from mmrlkd.distillation.selection.policies import TokenPolicy
from mmrlkd.distillation.selection.recorded import RecordedEnvironment, Recording
from mmrlkd.registry import MODELS
from mmrlkd.rl import play
from mmrlkd.structures import LevelSpace

POLICY = dict(type='mmrlkd.TokenPolicy', width=16, hidden=32, layers=1)
FLOOR, LIVE = 'recorded episodes', 'live episodes'
INNER = dict(lr=0.3, steps=5, shots=100)
LEARNERS: dict[str, dict[str, Any]] = {
    'joint training': dict(type='mmrlkd.MAML', first_order=True, lr=0., steps=1,
                           shots=100),
    'Reptile': dict(type='mmrlkd.Reptile', **INNER),
    'first-order MAML': dict(type='mmrlkd.MAML', first_order=True, **INNER),
    'MAML': dict(type='mmrlkd.MAML', **INNER),
}
GROUP = 2
IMAGES, SIZE = 400, 128


def made_up(seed: int, space: LevelSpace) -> RecordedEnvironment:
    """A recording of random numbers."""
    draw = torch.Generator().manual_seed(seed)

    def numbers(width: int) -> torch.Tensor:
        return torch.randn(IMAGES, width, generator=draw)

    return RecordedEnvironment(Recording(
        global_feature=numbers(space.global_channels),
        level_features=numbers(sum(space.level_channels)),
        context=numbers(0), level_losses=numbers(len(space)).abs(),
        gains=numbers(2**len(space)), batch_size=[IMAGES]), space, horizon=1)


def make_step(name: str, batch: int, tasks: int,
              device: torch.device) -> Callable[[int], None]:
    """A function that runs one step of a variant, given its number."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    space = LevelSpace(
        ('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5, (64, ) * 4, 128,
        (4., 8., 16., 32.))
    made = [made_up(seed, space) for seed in range(tasks)]
    environments = [RecordedEnvironment(
        each.recording.to(device), space, 1) for each in made]
    if name in LEARNERS:
        learner = build_learner(POLICY, LEARNERS[name], 0)
        learner.policy.to(device)

        def update(_: int) -> None:
            learner.update(environments)

        return update
    one = environments[0].take(torch.arange(batch, device=device))
    if name == FLOOR:
        policy = TokenPolicy(width=16, hidden=32, layers=1).to(device).fitted(one)

        def episodes(_: int) -> None:
            play(one, policy)

        return episodes
    return _live(batch, device)


def _live(batch: int, device: torch.device) -> Callable[[int], None]:
    model = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=retinanet(18, 16),
        teacher=dict(config=retinanet(50, 32), checkpoint=None),
        levels=('P2', 'P3', 'P4', 'P5'), selector=dict(
            type='mmrlkd.PolicySelector', horizon=1, policy=POLICY,
            reward=dict(type='mmrlkd.AlignmentReward'),
            learner=dict(type='mmrlkd.ExpectedReward'))))
    model.student.init_weights()
    model = model.to(device).train()
    data, space = make_batch(batch, SIZE), model.distillation.space

    def step(_: int) -> None:
        seen = record(model, copy.copy(data), model.selector.reward)
        play(RecordedEnvironment(seen, space, 1), model.selector.policy)

    return step


if __name__ == '__main__':
    run(Benchmark(
        file=__file__, title='Meta-learning', variants=(FLOOR, LIVE, *LEARNERS),
        sweep=Sweep('tasks', 'tasks', (1, 3)), make_step=make_step, group=GROUP,
        rounds=20, slow=(LIVE, ), baselines={'MAML': 'first-order MAML'}),
        description='Measure what meta-learning costs.')
