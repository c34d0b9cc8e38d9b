"""Searches for one subset of levels for all images, during training."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from mmengine import dist
from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse
from mmrlkd.distillation.selection.environment import (
    DecisionProcess,
    subset_costs,
    within_budget,
)
from mmrlkd.rl import Diagnostics, SubsetDistribution, subset_table
from mmrlkd.structures import Choice, LevelSpace, Selection, Signals

from .base import Selector

#: Momentum of the running mean of the size of the effects.
MOMENTUM = 0.05


@dataclass(frozen=True)
class SearchDiagnostics(Diagnostics):
    """One step of α.

    Attributes:
        task: effect of the mixture on the held-out loss, in units of the mean
            effect of a level; below 0 where distilling helps.
        cost: expected cost of the mixture, as a share of the full pyramid's.
        effect_scale: that unit.
        skipped_steps: number of steps skipped so far, because an effect was not
            finite.
    """
    task: Tensor
    cost: Tensor
    effect_scale: Tensor
    skipped_steps: Tensor


@dataclass(frozen=True)
class SearchChoice(Choice):
    """A choice, and the noise that it was drawn with.

    Attributes:
        noise: (2^L,); None if the choice is not random.
    """
    noise: Tensor | None = None


class SubsetSearch(Selector):
    r"""Trains a free logit α_s for each affordable subset s by Adam on

        J(α) = Σ_i w_i(α) e_i / m  +  λ Σ_s m_s(α) cost_s / cost_all,

    where m_s is the mixture of subsets that the batch was distilled with,
    w_i = Σ_s m_s·1[i ∈ s]/L the weight of level i in it, and e_i the effect
    of level i on the task loss of held-out images
    (:meth:`~mmrlkd.structures.Signals.step_effect`).

    The weights in J are those of ``normalize='none'``, also where the batch was
    distilled with weights that sum to one. With such weights the task term of a
    subset would be the mean of its levels' effects, and the best single level
    would always win. As defined, J is a sum over levels: a level belongs to the
    best subset exactly if -e_i / Σ\|e\| > λ cost_i / cost_all.

    The unit m is a running mean of \|e_i\| over levels and batches. Adam does
    not depend on the scale of J, but the balance of its two terms does. In this
    unit λ compares the cost of the full pyramid with its total effect, whatever
    the loss, the learning rate and the progress of the training. A unit computed
    from the batch alone would give batches with small effects, which are mostly
    noise, the same weight as the others.

    Args:
        lr: of Adam on α.
        betas: of Adam on α.
        weight_decay: pulls α towards equal logits.
        efficiency: λ ≥ 0, weight of the cost; 0 looks at the task only.
    """

    learns = True
    needs_held_out = True
    #: See :meth:`~mmrlkd.structures.Signals.step_effect`.
    order: int = 1
    _feasible: Tensor
    _level_weights: Tensor
    _fixed_weights: Tensor
    _cost_shares: Tensor
    _scale: Tensor

    def __init__(self, lr: float = 3e-4,
                 betas: tuple[float, float] = (0.5, 0.999),
                 weight_decay: float = 1e-3, efficiency: float = 0.5) -> None:
        super().__init__()
        owner = type(self).__name__
        self.lr = check_number(owner, 'lr', lr, 0, open='low')
        if len(betas) != 2:
            refuse(owner, 'betas', betas, 'two numbers in [0, 1)')
        first, second = (
            check_number(owner, f'betas[{i}]', beta, 0, 1, open='high')
            for i, beta in enumerate(betas))
        self.betas = (first, second)
        self.weight_decay = check_number(
            owner, 'weight_decay', weight_decay, 0)
        self.efficiency = check_number(owner, 'efficiency', efficiency, 0)
        self.skipped = 0
        # Effects (L,) and choice of the last observation, until `learn`.
        self._observed: list[tuple[Tensor, SearchChoice]] = []

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        costs = subset_costs(space.costs)
        feasible = within_budget(costs, space)
        feasible[0] = space.min_levels == 0
        table = subset_table(len(space), torch.device('cpu'))
        for name, values in (
            ('_feasible', feasible),
            ('_level_weights', space.weights(table)),
            ('_fixed_weights', table / len(space)),
            ('_cost_shares', (costs / costs[-1]).float()),
            ('_scale', torch.zeros(())),
        ):
            self.register_buffer(name, values, persistent=False)
        # Equal logits: the search starts from the uniform mixture.
        self.alpha = nn.Parameter(torch.zeros(len(costs)))
        self.optimizer = torch.optim.Adam(
            [self.alpha], self.lr, self.betas, weight_decay=self.weight_decay)

    def distribution(self) -> SubsetDistribution:
        """softmax(α) over the affordable subsets."""
        return SubsetDistribution(self.alpha, self._feasible)

    def best_levels(self) -> tuple[str, ...]:
        """Names of the levels of the likeliest subset."""
        best = int(self.distribution().mode())
        return tuple(name for i, name in enumerate(self.space.names)
                     if best >> i & 1)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Choice:
        """In training the mixture or the draw, in evaluation the best subset."""
        noise = self.draw() if self.training else None
        if self.training:
            levels, weights = self.train_levels(noise)
        else:
            levels, weights = self.single(self.distribution().mode())
        shape = process.batch_size, len(self.space)
        return SearchChoice(
            Selection(levels.expand(shape), weights.expand(shape)),
            noise=noise)

    def single(self, subset: Tensor) -> tuple[Tensor, Tensor]:
        """(L,) bool levels and (L,) weights of a subset, by its index ()."""
        weights = self._level_weights[subset]
        return weights > 0, weights

    def draw(self) -> Tensor | None:
        """The noise of a batch of training, equal on all ranks; None if the
        search draws none."""
        return None

    @abstractmethod
    def train_levels(self, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """(L,) bool levels and (L,) weights of a batch of training."""

    @abstractmethod
    def mixture(self, noise: Tensor | None) -> Tensor:
        """(2^L,) the mixture of subsets that a batch of training was distilled
        with; differentiable in α."""

    def weigh(self, mixture: Tensor) -> Tensor:
        """(L,) weights of the levels in a mixture (2^L,) of subsets."""
        # Not a matrix product, which autocast would run in half precision.
        return (mixture[:, None] * self._level_weights).sum(dim=0)

    def task_effect(self, mixture: Tensor, effect: Tensor) -> Tensor:
        """() effect of a mixture (2^L,) of subsets, from the levels' (L,)."""
        return ((mixture[:, None] * self._fixed_weights).sum(dim=0)
                * effect).sum()

    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        effect = signals.step_effect(self.order).to(self.alpha)
        # Each rank has the effect on its own batch; α is equal on all of them.
        dist.all_reduce(effect, 'mean')
        assert isinstance(choice, SearchChoice)
        self._observed.append((effect, choice))
        return self.report()

    def learn(self) -> SearchDiagnostics | None:
        if not self._observed:
            return None
        effect, choice = self._observed.pop()
        usable = bool(effect.isfinite().all())  # equal on all ranks: a mean
        if usable:
            size = effect.abs().mean()
            self._scale.copy_(torch.where(
                self._scale > 0, self._scale.lerp(size, MOMENTUM), size))
        mixture = self.mixture(choice.noise)
        unit = self._scale.clamp_min(torch.finfo(effect.dtype).tiny)
        task = self.task_effect(mixture, effect) / unit
        cost = (mixture * self._cost_shares).sum()
        if usable:
            self.optimizer.zero_grad()
            (task + self.efficiency * cost).backward()
            self.optimizer.step()
        else:
            self.skipped += 1
        return SearchDiagnostics(
            task=task.detach(), cost=cost.detach(),
            effect_scale=self._scale.clone(),
            skipped_steps=torch.full_like(self._scale, self.skipped))

    @torch.no_grad()
    def report(self) -> dict[str, Tensor]:
        """The distribution over subsets, for the log."""
        choice = self.distribution()
        held = self._level_weights > 0
        each = (choice.probs[:, None] * held).sum(dim=0)
        return {
            'search.entropy': choice.entropy(),
            'search.cost': (choice.probs * self._cost_shares).sum(),
            **{f'search.{name}': p for name, p in zip(
                self.space.names, each, strict=True)},
        }

    def run_state(self) -> dict[str, Any]:
        return {
            'alpha': self.alpha.detach(),
            'optimizer': self.optimizer.state_dict(),
            'scale': self._scale,
            'skipped': self.skipped,
        }

    def load_run_state(self, state: dict[str, Any]) -> None:
        self.alpha.data.copy_(state['alpha'])
        self.optimizer.load_state_dict(state['optimizer'])
        self._scale.copy_(state['scale'])
        self.skipped = state['skipped']
