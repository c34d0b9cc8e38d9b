"""Random levels at a given mean cost: what a policy has to beat."""

import math

import torch

from mmrlkd.decision import (
    DecisionProcess,
    subset_costs,
    subset_table,
    within_budget,
)
from mmrlkd.registry import SELECTORS
from mmrlkd.structures import LevelSpace, Selection

from .base import Selector


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
        feasible[0] = False
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
        self._probs = _tilted(costs / dearest, self.cost / dearest)

    def select(self, process: DecisionProcess) -> Selection:
        drawn = torch.multinomial(
            self._probs, process.batch_size, replacement=True)
        levels = self._subsets[drawn]
        weights = levels / levels.sum(-1, keepdim=True)
        return Selection(levels, weights.to(process.device))


def _tilted(costs: torch.Tensor, mean: float) -> torch.Tensor:
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
