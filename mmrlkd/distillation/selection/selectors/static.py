"""Selectors that do not look at the image: known weights, or random subsets."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmrlkd.arguments import check_number, refuse
from mmrlkd.distillation.selection.environment import (
    DecisionProcess,
    subset_costs,
    within_budget,
)
from mmrlkd.registry import SELECTORS
from mmrlkd.rl import subset_table
from mmrlkd.structures import Choice, LevelSpace, Selection

from .base import Selector


class ConstantSelector(Selector):
    """A row of weights, laid down when the levels are known.

    They sum to one, or under ``normalize='none'`` to the share of the levels
    that is selected.

    Which levels are selected stays on the CPU: whoever asks need not wait for
    the device.
    """

    _weights: Tensor

    @abstractmethod
    def weigh(self, space: LevelSpace) -> list[float]:
        """One weight ≥ 0 for each level; 0 does not select it."""

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        weights = torch.tensor(self.weigh(space))
        self._levels = weights > 0
        weights = weights / weights.sum().clamp(
            min=torch.finfo(weights.dtype).tiny)
        if space.normalize == 'none':  # 1/L in the mean of the selected
            weights = weights * (self._levels.sum() / len(space))
        self.register_buffer('_weights', weights, persistent=False)
        names = [name for name, selected in zip(
            space.names, self._levels, strict=True) if selected]
        cost = sum(cost for cost, selected in zip(
            space.costs, self._levels, strict=True) if selected)
        if not within_budget(cost, space):
            raise ValueError(
                f'{type(self).__name__} distils {", ".join(names)} at a cost '
                f'of {cost}, but budget={space.budget}; raise the budget to '
                f'{cost} or name cheaper levels with '
                'selector=dict(type="mmrlkd.FixedSelector", levels=...).')

    def select(self, process: DecisionProcess) -> Choice:
        shape = process.batch_size, len(self.space)
        return Choice(Selection(
            levels=self._levels.expand(shape),
            weights=self._weights.to(process.device).expand(shape)))


@SELECTORS.register_module()
class NoneSelector(ConstantSelector):
    """Selects nothing; the one selector whose weights sum to 0."""

    uses_teacher = False

    def weigh(self, space: LevelSpace) -> list[float]:
        return [0.] * len(space)


@SELECTORS.register_module()
class UniformSelector(ConstantSelector):
    """All levels, 1/L each."""

    def weigh(self, space: LevelSpace) -> list[float]:
        return [1.] * len(space)


@SELECTORS.register_module()
class ManualDeepSelector(ConstantSelector):
    """All levels, weights rising linearly: .1 .2 .3 .4 for four."""

    def weigh(self, space: LevelSpace) -> list[float]:
        return [float(i + 1) for i in range(len(space))]


@SELECTORS.register_module()
class ManualShallowSelector(ConstantSelector):
    """All levels, weights falling linearly: .4 .3 .2 .1 for four."""

    def weigh(self, space: LevelSpace) -> list[float]:
        return [float(len(space) - i) for i in range(len(space))]


@SELECTORS.register_module()
class FixedSelector(ConstantSelector):
    """Any levels, any weights, by name.

    ``levels=('P4', 'P5')`` weighs them alike; ``weights=dict(P4=1, P5=3)``
    selects the levels it names; with both, they name the same levels.

    Args:
        levels: names of levels, at least one.
        weights: weight > 0 of each level, in any unit: they are divided by
            their sum.
    """

    def __init__(self, levels: Sequence[str] | None = None,
                 weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not levels and not weights:
            raise ValueError(
                f'FixedSelector(levels={levels}, weights={weights}) selects '
                'nothing; name at least one level, or use NoneSelector.')
        if levels and weights and set(levels) != set(weights):
            refuse('FixedSelector', 'weights', dict(weights),
                   f'a number for each of levels={list(levels)}')
        self.weights = dict(weights or dict.fromkeys(levels or (), 1.))
        for name, weight in self.weights.items():
            check_number('FixedSelector', f'weights[{name!r}]', weight, 0,
                         open='low')

    def weigh(self, space: LevelSpace) -> list[float]:
        unknown = self.weights.keys() - set(space.names)
        if unknown:
            raise ValueError(
                f'FixedSelector names the levels {sorted(unknown)}, which '
                f'are not among {space.names}.')
        return [float(self.weights.get(name, 0.)) for name in space.names]


@SELECTORS.register_module()
class RandomSelector(Selector):
    """Draws a subset for each image without looking at it.

    Among all distributions over the feasible subsets with the mean cost asked
    for, the one of largest entropy: p(s) ∝ exp(−θ·cost(s)), with θ found by
    bisection when the levels are known. Draws in evaluation too.

    Args:
        cost: mean cost of an image, in the currency of the levels' costs;
            e.g. what the policy to compare with was measured to spend.
        share: without ``cost``, the mean cost as a share of all levels' cost.
    """

    def __init__(self, cost: float | None = None,
                 share: float = 0.5) -> None:
        super().__init__()
        self.cost = cost
        self.share = share

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        costs = subset_costs(space.costs)
        feasible = within_budget(costs, space)
        feasible[0] = space.min_levels == 0
        self._subsets = subset_table(
            len(space), torch.device('cpu'))[feasible]
        costs = costs[feasible]
        cheapest, dearest = costs.min().item(), costs.max().item()
        if self.cost is None:
            self.cost = self.share * sum(space.costs)
        reached = cheapest <= self.cost <= dearest
        if not reached and not math.isclose(cheapest, self.cost):
            raise ValueError(
                f'RandomSelector: cost={self.cost} can\'t be the mean cost of '
                f'subsets that cost {cheapest} to {dearest}; choose a value '
                'in between.')
        self._probs = tilted(costs / dearest, self.cost / dearest)

    def select(self, process: DecisionProcess) -> Choice:
        drawn = torch.multinomial(
            self._probs, process.batch_size, replacement=True)
        levels = self._subsets[drawn]
        weights = self.space.weights(levels)
        return Choice(Selection(levels, weights.to(process.device)))


def tilted(costs: Tensor, mean: float) -> Tensor:
    """Probabilities ∝ exp(−θ·costs) with the given mean cost.

    ``costs`` are at most 1. The mean falls with θ, so θ is found by halving
    an interval whose ends put everything on the dearest and the cheapest.
    """
    low, high = -1e4, 1e4
    for _ in range(100):
        theta = (low + high) / 2
        probs = torch.softmax(-theta * costs, dim=0)
        if probs @ costs > mean:
            low = theta
        else:
            high = theta
    return probs
