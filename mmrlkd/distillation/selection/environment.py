"""The environment of the selectors: each level is offered once, coarsest first."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from mmrlkd.rl.distributions import subset_table
from mmrlkd.rl.environment import Outcome
from mmrlkd.rl.tree import Nodes
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
    # Cached for each space and device. Tensors made in inference mode could not
    # be used with gradients later.
    with torch.inference_mode(False):
        costs = subset_costs(space.costs)
        return _Tables(
            index=torch.arange(len(costs), device=device),
            subsets=subset_table(len(space), device),
            budget_left=(1 - costs / space.budget).clamp(min=0).float().to(
                device),
            affordable=within_budget(costs, space).to(device))


class KnownLosses:
    """A :class:`~mmrlkd.structures.LossSource` of losses (B, L) that are all
    computed already."""

    def __init__(self, losses: Tensor) -> None:
        self._losses = losses

    def compute(self, levels: Tensor) -> Tensor:
        return self._losses

    def compute_all(self) -> Tensor:
        return self._losses

    def compute_shares(self) -> Tensor:
        raise NotImplementedError('losses are known by level only')


def opened_levels(space: LevelSpace, horizon: int, step: int) -> int:
    """Number of levels, counted from the coarsest, that are offered before
    ``step`` of ``horizon``: ceil(L · step / T)."""
    return -(-len(space) * step // horizon)


def allowed_subsets(space: LevelSpace, horizon: int, step: int,
                    held: Tensor) -> Tensor:
    """(…, 2^L) bool, the action mask of ``step``: the subsets that may be held
    after it.

    Args:
        space: the levels.
        horizon: number of steps T.
        step: in [0, T).
        held: (…,) int64, the subsets held before.
    """
    tables = _tables(space, held.device)
    levels = len(space)
    before, after = (opened_levels(space, horizon, each)
                     for each in (step, step + 1))
    # Bit i is level i, finest first: this step offers the bits from L − after
    # to L − before − 1.
    offered = (1 << levels - before) - (1 << levels - after)
    index, held = tables.index, held[..., None]
    # Three conditions on the bits, for all 2^L subsets at once.
    keeps = index & held == held
    adds_offered = index & ~held & ~offered == 0
    allowed = keeps & adds_offered & tables.affordable
    # The empty subset is masked where no later level fits in the budget: the
    # episode would have to end without a level.
    if space.min_levels and not any(
            within_budget(cost, space) for cost in space.costs[:levels - after]):
        allowed = allowed & (index > 0)
    return allowed


class DecisionProcess:
    """Episodes of ``horizon`` steps, one for each image of a batch: the
    :class:`~mmrlkd.rl.environment.Environment` of the selectors.

    An action is the subset held *after* the step. It contains the subset held
    before, adds only levels that this step offers, and fits in the budget.
    Steps count from 0. After step ``t`` of ``T`` the coarsest
    ``ceil(L (t + 1) / T)`` levels have been offered, each of them once. If
    levels were offered again, a uniform policy would select coarse levels more
    often than fine ones. A step without an offer (``T > L``) changes nothing.

    Every episode can end with ``space.min_levels`` levels: the empty subset is
    masked where no later level fits in the budget.

    The environment gives no rewards. They are computed for the whole batch,
    after its losses.

    Args:
        space: the levels; checked when the selector was bound to it.
        global_feature: (B, G), pooled deepest map of the student.
        level_features: (B, C_1 + … + C_L), pooled level maps.
        losses: asked after each step but the last, for the selected levels
            only. No action follows the last step, so no loss is needed there.
        horizon: number of steps ``T`` ≥ 1.
        context: (B, K), scaled descriptors of the images; None for none.

    Attributes:
        state: the observation before the next step.
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
        self._restart()

    def reset(self) -> State:
        """Begin the episodes with the empty subset."""
        if self._step:
            self._restart()
        return self.state

    def _restart(self) -> None:
        self._step = 0
        # The empty subset has the index 0.
        self._held = torch.zeros(
            self.batch_size, dtype=torch.int64, device=self.device)
        nothing = self._tables.subsets[self._held]
        self.state = self._make_state(nothing, torch.zeros(
            nothing.shape, device=self.device))

    def repeated(self, copies: int) -> 'DecisionProcess':
        """A fresh process with ``copies`` episodes for each image.

        Those of image ``i`` are ``copies·i`` to ``copies·(i + 1) − 1``. The
        losses of all levels are computed at once: different episodes of an
        image select different levels.
        """
        global_feature, level_features, losses, context = (
            tensor.repeat_interleave(copies, dim=0) for tensor in (
                self._global_feature, self._level_features,
                self._losses.compute_all(), self._context))
        return DecisionProcess(
            self.space, global_feature, level_features, KnownLosses(losses),
            self.horizon, context)

    def compute_all(self) -> Tensor:
        """(B, L), the losses of all levels; see
        :meth:`mmrlkd.structures.LossSource.compute_all`."""
        return self._losses.compute_all()

    def compute_shares(self) -> Tensor:
        """(B, L), the same in one unit for all levels; see
        :meth:`mmrlkd.structures.LossSource.compute_shares`."""
        return self._losses.compute_shares()

    def known(self) -> State:
        """The state before the first step, with the losses of all levels in
        ``level_losses``: :meth:`SubsetTree.nodes` computes every later state
        from it. With one step no state shows a loss, and none is computed."""
        first = self.reset()
        if self.horizon == 1:
            return first
        return first.replace(level_losses=self.compute_all().float())

    def step(self, action: Tensor) -> Outcome:
        """Hold the subsets ``action`` (B,) int64, which the mask must allow.

        Returns:
            The new :attr:`state`, and no reward. After the last step the
            state's ``step`` is ``T`` and its losses are 0.
        """
        selected = self._tables.subsets[action]
        self._step += 1
        # A source may know more losses than were asked for. The state shows those of
        # the selected levels only.
        if self._step < self.horizon:
            losses = self._losses.compute(selected).float().where(selected, 0.)
        else:
            losses = torch.zeros(selected.shape, device=self.device)
        self._held = action
        self.state = self._make_state(selected, losses)
        return Outcome(self.state, None)

    def _make_state(self, selected: Tensor, losses: Tensor) -> State:
        """The state with the levels ``selected`` (B, L) bool, whose losses are
        ``losses`` (B, L)."""
        return State(
            global_feature=self._global_feature,
            level_features=self._level_features,
            loss=_mean_loss(losses, selected),
            level_losses=losses,
            selected=selected,
            budget_left=self._tables.budget_left[self._held],
            step=torch.full_like(self._held, self._step),
            context=self._context,
            action_mask=self._action_mask(),
            batch_size=[self.batch_size])

    def _action_mask(self) -> Tensor:
        """(B, 2^L) bool, the subsets that may be held after the next step."""
        if self._step == self.horizon:  # no action follows; any mask will do
            return self._tables.affordable.expand(self.batch_size, -1)
        return allowed_subsets(
            self.space, self.horizon, self._step, self._held)


def _mean_loss(losses: Tensor, selected: Tensor) -> Tensor:
    """(…,) mean of the losses (…, L) of the selected levels; 0 without any."""
    return losses.sum(-1) / selected.sum(-1).clamp(min=1)


class SubsetTree:
    """All paths that episodes of a :class:`DecisionProcess` can take: a
    :class:`~mmrlkd.rl.tree.DecisionTree`.

    A node is a step and the subset held before it. Each level is offered once,
    so exactly one path leads to each subset, and the outcomes are the
    affordable subsets.

    Args:
        space: the levels.
        horizon: number of steps T.
    """

    def __init__(self, space: LevelSpace, horizon: int) -> None:
        self.space = space
        self.horizon = horizon
        #: T + 1 tensors: the subsets that can be held before each step, and at
        #: the end.
        self.held = [torch.zeros(1, dtype=torch.int64)]
        self._parents = []
        for step in range(horizon):
            # (N, 2^L): row n has the subsets that may follow the n-th node.
            allowed = allowed_subsets(space, horizon, step, self.held[-1])
            following, parents = allowed.T.nonzero().unbind(1)
            self.held.append(following)
            self._parents.append(parents)

    @property
    def outcomes(self) -> Tensor:
        """(S,) int64 on the CPU, the subsets that an episode can end with."""
        return self.held[-1]

    def nodes(self, known: State) -> list[Nodes]:
        """The observations at the nodes of each step.

        Args:
            known: (B,), from :meth:`DecisionProcess.known`.
        """
        device = known.step.device
        tables = _tables(self.space, device)
        nodes = []
        for step in range(self.horizon):
            # The same nodes for all images: only their observations differ.
            held, following, parents = (
                each.to(device, non_blocking=True) for each in (
                    self.held[step], self.held[step + 1], self._parents[step]))
            shape = len(known), len(held)
            selected = tables.subsets[held].expand(*shape, -1)
            losses = known.level_losses[:, None].where(selected, 0.)
            observation = known[:, None].expand(shape).replace(
                loss=_mean_loss(losses, selected),
                level_losses=losses,
                selected=selected,
                budget_left=tables.budget_left[held].expand(shape),
                step=torch.full(shape, step, device=device),
                action_mask=allowed_subsets(
                    self.space, self.horizon, step, held).expand(*shape, -1))
            nodes.append(Nodes(observation, parents, following))
        return nodes
