"""The episode of an image: levels are added step by step, coarse ones first."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mmrlkd.structures import LevelSpace, LossSource, State

from .space import within_budget
from .subsets import subset_costs, subset_table


@dataclass(frozen=True)
class _Tables:
    """Constants of a space on one device; all of length ``2^L``."""
    index: Tensor
    subsets: Tensor
    budget_left: Tensor
    affordable: Tensor


@lru_cache(maxsize=32)
def _tables(space: LevelSpace, device: torch.device) -> _Tables:
    with torch.inference_mode(False):
        costs = subset_costs(space.costs)
        return _Tables(
            index=torch.arange(len(costs), device=device),
            subsets=subset_table(len(space), device),
            budget_left=(1 - costs / space.budget).clamp(min=0).float().to(
                device),
            affordable=within_budget(costs, space).to(device))


class _KnownLosses:
    """Losses (B, L) of which nothing is left to compute."""

    def __init__(self, losses: Tensor) -> None:
        self._losses = losses

    def require(self, levels: Tensor) -> Tensor:
        return self._losses

    def survey(self) -> Tensor:
        return self._losses


class DecisionProcess:
    """Episodes of ``horizon`` steps, one for each image of a batch.

    An action is the subset held *after* the step. It keeps what was held,
    adds only levels that are open, and stays within the budget. At step ``t``
    of ``T`` the coarsest ``ceil(L (t + 1) / T)`` levels are open. The empty
    subset is allowed until the last step, which must not end with it. Every
    sequence can be completed: whatever is held may be kept, and the last step
    opens every level, the cheapest of which is within the budget.

    Args:
        space: the levels; checked when the selector was bound to it.
        global_feature: (B, G), pooled deepest map of the student.
        level_features: (B, C_1 + … + C_L), pooled level maps.
        losses: asked once a step, for what is selected and nothing else.
        horizon: number of steps ``T`` ≥ 1.
    """

    def __init__(self, space: LevelSpace, global_feature: Tensor,
                 level_features: Tensor, losses: LossSource,
                 horizon: int) -> None:
        self.space = space
        self.horizon = horizon
        self.batch_size = len(global_feature)
        self.device = global_feature.device
        self._losses = losses
        self._tables = _tables(space, self.device)
        self._step = 0
        self._held = torch.zeros(
            self.batch_size, dtype=torch.int64, device=self.device)
        self.state = State(
            global_feature=global_feature,
            level_features=level_features,
            loss=torch.zeros(self.batch_size, device=self.device),
            selected=self._tables.subsets[self._held],
            budget_left=self._tables.budget_left[self._held],
            step=torch.zeros_like(self._held))

    def repeated(self, copies: int) -> 'DecisionProcess':
        """A process that has not begun, with ``copies`` episodes an image.

        Those of image ``i`` are ``copies·i`` to ``copies·(i + 1) − 1``. The
        losses of all levels are computed for it once, without gradient;
        what is distilled in the end is still to be required.
        """
        global_feature, level_features, losses = (
            tensor.repeat_interleave(copies, dim=0) for tensor in (
                self.state.global_feature, self.state.level_features,
                self._losses.survey()))
        return DecisionProcess(
            self.space, global_feature, level_features, _KnownLosses(losses),
            self.horizon)

    def survey(self) -> Tensor:
        """(B, L), the losses of all levels; see :class:`LossSource`."""
        return self._losses.survey()

    def feasible(self) -> Tensor:
        """(B, 2^L) bool, the subsets that may be held after this step."""
        levels = len(self.space)
        opened = -(-levels * (self._step + 1) // self.horizon)
        closed = (1 << levels - opened) - 1
        index, held = self._tables.index, self._held[:, None]
        keeps = index & held == held
        adds_open = index & ~held & closed == 0
        feasible = keeps & adds_open & self._tables.affordable
        if self._step == self.horizon - 1:
            feasible &= index > 0
        return feasible

    def step(self, action: Tensor) -> State:
        """Hold the subsets ``action`` (B,) int64, which must be feasible.

        Returns:
            The new :attr:`state`; after the last step, its ``step`` is ``T``.
        """
        selected = self._tables.subsets[action]
        losses = self._losses.require(selected).float().where(selected, 0.)
        self._step += 1
        self._held = action
        self.state = State(
            global_feature=self.state.global_feature,
            level_features=self.state.level_features,
            loss=losses.sum(-1) / selected.sum(-1).clamp(min=1),
            selected=selected,
            budget_left=self._tables.budget_left[action],
            step=torch.full_like(action, self._step))
        return self.state
