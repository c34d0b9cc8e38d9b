"""What learners lose by sampling: their regret on images that were recorded.

All learners see the same images of a recording in the same batches and are paid
the same reward. What is left between their policy's reward and that of the best
subset for each image is measured on images that none of them has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmrlkd.config.compose import load_config
from mmrlkd.distillation.selection.environment import subset_costs, within_budget
from mmrlkd.distillation.selection.recorded import RecordedEnvironment, Recording
from mmrlkd.distillation.selection.rewards import Reward
from mmrlkd.distillation.selection.selectors import PolicySelector
from mmrlkd.registry import SELECTORS
from mmrlkd.rl import play, subset_table
from mmrlkd.structures import LevelSpace

from .headroom import mean_costs

#: Images in a batch, as in the study.
BATCH = 8
#: Share of a recording's images that learners never see.
HELD_OUT = 1 / 3
_STEPS = {'horizon': 4, 'policy.type': 'mmrlkd.LSTMPolicy'}
#: Stands for the task's mean cost: λ is then found, from the images that are learned
#: from; the target is not corrected by what those cost that are only distilled, for
#: there are none.
_FOUND = {'mean_cost': None}
#: Method and options of its selector, by the name in tables; see
#: :func:`reference` for what each is compared with.
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    'ExpectedReward, T = 1': ('expected_reward', {}),
    'ExpectedReward, T = 1, λ found': ('expected_reward', _FOUND),
    'ExpectedReward, T = 1, λ found, 4 gradient steps': (
        'expected_reward', _FOUND | {'learner.steps': 4}),
    'ExpectedReward, T = 1, λ found, 16 gradient steps': (
        'expected_reward', _FOUND | {'learner.steps': 16}),
    'ExpectedReward, T = 4': ('expected_reward', _STEPS),
    'ExpectedReward, T = 4, λ found': ('expected_reward', _STEPS | _FOUND),
    'PPO, T = 1': ('ppo', {'horizon': 1}),
    'PPO, T = 4': ('ppo', {}),
    'PPO, T = 4, λ found': ('ppo', _FOUND),
    'GRPO, T = 4': ('grpo', {}),
    'GRPO, T = 4, λ found': ('grpo', _FOUND),
    'REINFORCE, T = 4': ('reinforce', {}),
    'REINFORCE, T = 4, λ found': ('reinforce', _FOUND),
}


def reference(learner: str) -> str:
    """What a learner is compared with: the exact one whose λ is given, or
    found, as its own is."""
    first = 'ExpectedReward, T = 1'
    return f'{first}, λ found' if 'λ found' in learner else first


class RecordedGains(Reward):
    """The gains (B, 2^L) that were recorded, handed in as signals."""

    def raw_gains(self, signals: Any) -> Tensor:
        return signals

    def gains(self, signals: Any, update: bool = False) -> Tensor:
        return signals


@dataclass(frozen=True)
class RegretTask:
    """Images and what choosing levels for them is worth.

    Attributes:
        name: in tables.
        recording: of N images.
        space: the levels.
        efficiency: λ.
        mean_cost: of the best choices by image under this λ.
    """
    name: str
    recording: Recording
    space: LevelSpace
    efficiency: float
    mean_cost: float


def bandit(images: int = 4800) -> tuple[Recording, LevelSpace]:
    """Made-up images of which the state tells all: four levels whose gains are
    exponentials of numbers that are seen, larger ones where a level costs more."""
    space = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                       (1, 1, 1, 1), 8)
    features = torch.randn(
        images, 8, generator=torch.Generator().manual_seed(0))
    worth = features[:, :4].exp() * torch.tensor([.5, .25, .15, .1])
    table = subset_table(4, torch.device('cpu')).float()
    return Recording(
        global_feature=features, level_features=torch.zeros(images, 4),
        context=torch.zeros(images, 0), level_losses=torch.ones(images, 4),
        gains=worth @ table.T, batch_size=images), space


def price_of(recording: Recording, space: LevelSpace, mean_cost: float) -> float:
    """λ at which the best subsets by image cost ``mean_cost`` on average."""
    costs = subset_costs(space.costs)
    allowed = within_budget(costs, space)
    allowed[0] = not space.min_levels
    gains = recording.gains.double().where(allowed, -torch.inf)

    def spent(price: float) -> float:
        best = (gains - price * costs / costs[-1]).argmax(-1)
        return float(costs[best].mean())

    low, high = 0., 1.
    while spent(high) > mean_cost:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = ((middle, high) if spent(middle) > mean_cost
                     else (low, middle))
    return high


def build_selector(config: str, name: str, task: RegretTask) -> PolicySelector:
    """The selector of one of :data:`LEARNERS`, as a pair's config has it, but
    paid what was recorded."""
    method, options = LEARNERS[name]
    found = 'mean_cost' in options
    cfg = load_config(config, method, {
        f'model.selector.{key}': task.mean_cost if key == 'mean_cost' else value
        for key, value in options.items()})
    chosen = cfg.model.selector
    chosen.reward = dict(type=RecordedGains, **(
        {} if found else dict(efficiency=task.efficiency)))
    selector = SELECTORS.build(chosen)
    selector.bind(task.space)
    return selector


def measure(config: str, name: str, task: RegretTask, seed: int,
            batches: int) -> Mapping[str, float]:
    """Train a learner, and judge it on images that it has not seen.

    Args:
        config: of a pair, for the selectors of its methods.
        name: one of :data:`LEARNERS`.
        task: the images and the reward.
        seed: of the order of the images, the policy and its samples.
        batches: from which it learns.

    Returns:
        ``regret`` to the best subset for each image, mean over the images:
        of the policy as it samples, ``regret_of_mode`` of its likeliest
        subset at each step, ``regret_of_fixed`` of the best subset for all.
    """
    order = torch.randperm(
        len(task.recording), generator=torch.Generator().manual_seed(seed))
    held_out = order[:round(HELD_OUT * len(order))]
    stream = order[len(held_out):]
    torch.manual_seed(seed)
    selector = build_selector(config, name, task)
    environment = RecordedEnvironment(
        task.recording, task.space, selector.horizon, task.efficiency)
    for i in range(batches):
        selector.set_progress(i / batches)
        chosen = stream[torch.arange(i * BATCH, (i + 1) * BATCH) % len(stream)]
        batch = environment.take(chosen)
        selector.observe(
            batch.recording.gains, selector.select(batch.process))
        selector.learn()
    unseen = environment.take(held_out)
    policy = selector.learner.policy  # pays the price of a mean cost
    with torch.no_grad():
        likeliest = play(unseen, policy, explore=False).reward.sum(0)
    best = unseen.returns.amax(-1)
    return dict(
        regret=float(unseen.regret(policy).mean()),
        regret_of_mode=float((best - likeliest).mean()),
        regret_of_fixed=float(unseen.fixed_regret()[1].mean()),
        best=float(best.mean()))


def at_mean_cost(name: str, recording: Recording, space: LevelSpace,
                 mean_cost: float) -> RegretTask:
    """The task whose best choices cost ``mean_cost`` on average.

    Raises:
        ValueError: no choices do.
    """
    mean_costs(space, [mean_cost], '--mean-cost')
    return RegretTask(
        name, recording, replace(space, context=recording.context.shape[-1]),
        price_of(recording, space, mean_cost), mean_cost)
