"""Greedily, the levels whose loss is worth their cost."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.distillation.selection.environment import DecisionProcess, within_budget
from mmrlkd.registry import SELECTORS
from mmrlkd.structures import Choice, LevelSpace, Selection

from .base import Selector


@SELECTORS.register_module()
class GreedySelector(Selector):
    """LAD: adds the level with the best loss per cost until it stops paying.

    A level offers ``(ℓ_i / E Σℓ) / (cost_i / Σcost)``: its loss for this image,
    in units of what all levels together lose on average, for its share of the
    full pyramid's cost. Levels are added by falling offer while it is at least
    ``efficiency`` and the budget allows; one that is too dear is passed over,
    and of equal offers the cheapest comes first. Where nothing pays and each
    image must take a level, it takes the one that loses least.

    The drafts call this LAD ("Zhang et al., 2023: greedy layer selection")
    and say no more. Decided here: losses count as they are trained, in the one
    unit of :class:`ResidualReward`, and λ is the rewards' λ, so that a level is
    added exactly if that reward would pay for it. Nothing is
    learned, but every choice asks for the losses of all levels: greed saves
    the backward pass of a level that no image takes, not the teacher's work.

    Args:
        efficiency: λ ≥ 0, the smallest offer that is taken; 0 takes all
            levels that the budget allows.
    """

    adaptive = True
    _costs: Tensor
    _by_cost: Tensor

    def __init__(self, efficiency: float = 0.5) -> None:
        super().__init__()
        self.efficiency = check_number(
            'GreedySelector', 'efficiency', efficiency, 0)

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        self.register_buffer(
            '_costs', torch.tensor(space.costs, dtype=torch.float64),
            persistent=False)
        self.register_buffer(
            '_by_cost', self._costs.argsort(stable=True), persistent=False)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Choice:
        gains = process.compute_shares().double().nan_to_num(0., 0., 0.)
        shares = self._costs / self._costs.sum()
        offers = gains / shares
        order = self._by_cost[offers[:, self._by_cost].argsort(
            dim=-1, descending=True, stable=True)]
        levels = torch.zeros_like(order, dtype=torch.bool)
        spent = self._costs.new_zeros(len(order), 1)
        for candidate in order.split(1, dim=-1):  # (B, 1), best first
            cost = self._costs[candidate]
            takes = within_budget(spent + cost, self.space) & (
                offers.gather(-1, candidate) >= self.efficiency)
            spent = spent + cost * takes
            levels.scatter_(-1, candidate, takes)
        if self.space.min_levels:
            left = (gains - self.efficiency * shares).masked_fill(
                ~within_budget(self._costs, self.space), -torch.inf)
            best = self._by_cost[left[:, self._by_cost].argmax(-1)]
            levels |= (spent == 0) & F.one_hot(best, len(self.space)).bool()
        weights = self.space.weights(levels)
        return Choice(Selection(levels, weights))
