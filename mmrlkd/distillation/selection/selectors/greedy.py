"""Selects levels greedily, by their loss relative to their cost."""

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
    """LAD: adds levels in the order of loss per cost, down to a threshold.

    The ratio of a level is ``(ℓ_i / E Σℓ) / (cost_i / Σcost)``: its loss for
    this image, in units of the mean sum of the losses, over its share of the
    full pyramid's cost. Levels are added in falling order of their ratio, while
    it is at least ``efficiency``. A level that does not fit in the budget is
    skipped; of equal ratios the cheapest level comes first. If none is added
    and each image must have a level, it gets the affordable one with the largest
    loss minus λ times its cost share.

    The drafts of the method call this LAD ("Zhang et al., 2023: greedy layer
    selection") and give no definition. Here losses are in the unit of
    :class:`.residual.ResidualReward` and λ is the rewards' λ, so that a level is
    added exactly if that reward is positive for it. Nothing is learned, but
    every choice needs the losses of all levels. It saves the backward pass of a
    level that no image selects, not the teacher's forward pass.

    Args:
        efficiency: λ ≥ 0, the smallest ratio that is added; 0 adds all levels
            that the budget allows.
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
        ratios = gains / shares
        # A stable sort of levels that are sorted by cost: the cheapest of equal
        # ratios comes first.
        order = self._by_cost[ratios[:, self._by_cost].argsort(
            dim=-1, descending=True, stable=True)]
        levels = torch.zeros_like(order, dtype=torch.bool)
        spent = self._costs.new_zeros(len(order), 1)
        # A loop over the L levels, not over the images: a skipped level leaves
        # its budget to the next one.
        for candidate in order.split(1, dim=-1):  # (B, 1), best first
            cost = self._costs[candidate]
            takes = within_budget(spent + cost, self.space) & (
                ratios.gather(-1, candidate) >= self.efficiency)
            spent = spent + cost * takes
            levels.scatter_(-1, candidate, takes)
        if self.space.min_levels:
            left = (gains - self.efficiency * shares).masked_fill(
                ~within_budget(self._costs, self.space), -torch.inf)
            best = self._by_cost[left[:, self._by_cost].argmax(-1)]
            levels |= (spent == 0) & F.one_hot(best, len(self.space)).bool()
        weights = self.space.weights(levels)
        return Choice(Selection(levels, weights))
