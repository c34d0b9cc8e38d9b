"""Selectors that do not depend on the image: constant weights, random subsets."""

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
    """The same weights for all images, fixed in :meth:`bind`.

    They sum to one, or under ``normalize='none'`` to the share of the levels
    that is selected.

    The selected levels are a CPU tensor, so that the host does not wait for the
    device to learn which levels to compute.
    """

    _weights: Tensor

    @abstractmethod
    def weigh(self, space: LevelSpace) -> list[float]:
        """One weight ≥ 0 for each level; 0 does not select it."""

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        # Levels of weight 0 are not selected, and cost nothing.
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
            weights=self._weights.to(
                process.device, non_blocking=True).expand(shape)))


@SELECTORS.register_module()
class NoneSelector(ConstantSelector):
    """Selects no level; the only selector whose weights always sum to 0."""

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
    """The named levels, with the given weights.

    ``levels=('P4', 'P5')`` gives both the same weight; ``weights=dict(P4=1,
    P5=3)`` selects the levels that it names. If both are given, they must name
    the same levels.

    Args:
        levels: names of levels, at least one.
        weights: weight > 0 of each level; they are divided by their sum.
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
    """Draws a random subset for each image, in evaluation, too.

    The distribution is the one of largest entropy among those over the
    affordable subsets with the given mean cost: p(s) ∝ exp(−θ·cost(s)) (Jaynes
    1957, https://doi.org/10.1103/PhysRev.106.620). θ is found by bisection.

    Args:
        cost: mean cost of an image, in the unit of the levels' costs, such as
            the measured mean cost of the policy to compare with.
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
        # isclose: the share of a sum may miss the cheapest cost by rounding.
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
        return Choice(Selection(
            levels, weights.to(process.device, non_blocking=True)))


def tilted(costs: Tensor, mean: float) -> Tensor:
    """Probabilities ∝ exp(−θ·costs) with the given mean cost.

    ``costs`` are at most 1. The mean falls with θ, so θ is found by bisection
    of an interval whose ends put all probability on the most expensive subset
    and on the cheapest one.
    """
    low, high = -1e4, 1e4
    for _ in range(100):  # more than float64 can resolve
        theta = (low + high) / 2
        probs = torch.softmax(-theta * costs, dim=0)
        if probs @ costs > mean:
            low = theta
        else:
            high = theta
    return probs
