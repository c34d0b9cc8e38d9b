"""Choosing levels as an environment: they are added step by step, coarse ones
first."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from mmrlkd.rl.distributions import subset_table
from mmrlkd.rl.environment import Outcome
from mmrlkd.structures import LevelSpace, LossSource, State

#: Relative slack of the budget, so that costs of 0.1 and 0.2 fit in 0.3.
TOLERANCE = 1e-9

Cost = TypeVar('Cost', float, Tensor)


def within_budget(cost: Cost, space: LevelSpace) -> Cost:
    """Whether ``cost`` (a number or a float64 tensor) fits in the budget."""
    return cost <= space.budget * (1 + TOLERANCE)


def check_space(space: LevelSpace) -> None:
    """Raise a ValueError if no level could ever be selected."""
    if not space.names:
        raise ValueError(
            "levels=() names no level; give at least one, e.g. ('P5', ).")
    if len(set(space.names)) != len(space.names):
        raise ValueError(
            f'levels={space.names} names a level twice; names must differ.')
    if len(space.costs) != len(space.names):
        raise ValueError(
            f'costs={space.costs} must hold one cost for each of the levels '
            f'{space.names}.')
    for name, cost in zip(space.names, space.costs, strict=True):
        if not (cost > 0 and math.isfinite(cost)):
            raise ValueError(
                f'The cost of level {name} is {cost}; costs must be finite '
                'and greater than 0.')
    cheapest = min(space.costs)
    if not within_budget(cheapest, space):
        name = space.names[space.costs.index(cheapest)]
        raise ValueError(
            f'budget={space.budget} does not pay for a single level; it must '
            f'be at least {cheapest}, the cost of {name}.')


def subset_costs(costs: tuple[float, ...]) -> Tensor:
    """(2^L,) float64 on the CPU: what each subset costs altogether."""
    table = subset_table(len(costs), torch.device('cpu'))
    return table.double() @ torch.tensor(costs, dtype=torch.float64)


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

    def compute(self, levels: Tensor) -> Tensor:
        return self._losses

    def compute_all(self) -> Tensor:
        return self._losses

    def compute_shares(self) -> Tensor:
        raise NotImplementedError('losses are known by level only')


class DecisionProcess:
    """Episodes of ``horizon`` steps, one for each image of a batch: the
    :class:`~mmrlkd.rl.environment.Environment` of the selectors.

    An action is the subset held *after* the step. It keeps what was held,
    adds only levels that are open, and stays within the budget. At step ``t``
    of ``T`` the coarsest ``ceil(L (t + 1) / T)`` levels are open. The empty
    subset is allowed until the last step, which must not end with it. Every
    sequence can be completed: whatever is held may be kept, and the last step
    opens every level, the cheapest of which is within the budget.

    Rewards are not known here: they are computed from the whole batch, once
    it has been distilled.

    Args:
        space: the levels; checked when the selector was bound to it.
        global_feature: (B, G), pooled deepest map of the student.
        level_features: (B, C_1 + … + C_L), pooled level maps.
        losses: asked once a step, for what is selected and nothing else.
        horizon: number of steps ``T`` ≥ 1.
        context: (B, K), what else is known of the images; None for nothing.

    Attributes:
        state: what is seen before the next step.
    """

    def __init__(self, space: LevelSpace, global_feature: Tensor,
                 level_features: Tensor, losses: LossSource,
                 horizon: int, context: Tensor | None = None) -> None:
        self.space = space
        self.horizon = horizon
        self.batch_size = len(global_feature)
        self.device = global_feature.device
        self._global_feature = global_feature
        self._level_features = level_features
        self._losses = losses
        self._context = (global_feature.new_zeros(self.batch_size, 0)
                         if context is None else context)
        self._tables = _tables(space, self.device)
        self._begin()

    def reset(self) -> State:
        """Begin the episodes; nothing is held."""
        if self._step:
            self._begin()
        return self.state

    def _begin(self) -> None:
        self._step = 0
        self._held = torch.zeros(
            self.batch_size, dtype=torch.int64, device=self.device)
        nothing = self._tables.subsets[self._held]
        self.state = self._see(nothing, torch.zeros(
            nothing.shape, device=self.device))

    def repeated(self, copies: int) -> 'DecisionProcess':
        """A process that has not begun, with ``copies`` episodes an image.

        Those of image ``i`` are ``copies·i`` to ``copies·(i + 1) − 1``. The
        losses of all levels are asked for once, whatever the episodes choose.
        """
        global_feature, level_features, losses, context = (
            tensor.repeat_interleave(copies, dim=0) for tensor in (
                self._global_feature, self._level_features,
                self._losses.compute_all(), self._context))
        return DecisionProcess(
            self.space, global_feature, level_features, _KnownLosses(losses),
            self.horizon, context)

    def compute_all(self) -> Tensor:
        """(B, L), the losses of all levels; see :class:`LossSource`."""
        return self._losses.compute_all()

    def compute_shares(self) -> Tensor:
        """(B, L), likewise in one unit for all levels."""
        return self._losses.compute_shares()

    def step(self, action: Tensor) -> Outcome:
        """Hold the subsets ``action`` (B,) int64, which must be allowed.

        Returns:
            The new :attr:`state`, and no reward; after the last step, the
            state's ``step`` is ``T``.
        """
        selected = self._tables.subsets[action]
        losses = self._losses.compute(selected).float().where(selected, 0.)
        self._step += 1
        self._held = action
        self.state = self._see(selected, losses)
        return Outcome(self.state, None)

    def _see(self, selected: Tensor, losses: Tensor) -> State:
        """The state, given what is held (B, L) bool and its losses (B, L)."""
        return State(
            global_feature=self._global_feature,
            level_features=self._level_features,
            loss=losses.sum(-1) / selected.sum(-1).clamp(min=1),
            level_losses=losses,
            selected=selected,
            budget_left=self._tables.budget_left[self._held],
            step=torch.full_like(self._held, self._step),
            context=self._context,
            action_mask=self._allowed(),
            batch_size=[self.batch_size])

    def _allowed(self) -> Tensor:
        """(B, 2^L) bool, the subsets that may be held after the next step."""
        if self._step == self.horizon:  # the end: nothing is chosen any more
            return self._tables.affordable.expand(self.batch_size, -1)
        levels = len(self.space)
        opened = -(-levels * (self._step + 1) // self.horizon)
        closed = (1 << levels - opened) - 1
        index, held = self._tables.index, self._held[:, None]
        keeps = index & held == held
        adds_open = index & ~held & closed == 0
        allowed = keeps & adds_open & self._tables.affordable
        if self._step == self.horizon - 1:
            allowed &= index > 0
        return allowed
