"""λ, the price of cost in units of gain: given, or found for a mean cost."""

from typing import Any

import torch
from mmengine import dist
from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse
from mmrlkd.structures import LevelSpace

#: How far an error of one whole cost moves λ for each gradient step of the
#: policy, and how much it adds to λ while it lasts; in units of the gains' range.
ASCENT = 0.05
DAMPING = 2.0
#: Momentum of the running means of the error and of the gains' range.
MOMENTUM = 0.1
#: Images from whose gains the λ is found at which the ascent starts.
CALIBRATION = 256


class LagrangeMultiplier(nn.Module):
    """λ of the reward ``gain − λ · cost / Σ cost_i``.

    Without a target it is constant. With one it follows what the policy spends
    on average, E[c], by dual ascent on ``max E[gain] subject to E[c] <= target``
    with the damping of Platt and Barr 1987, "Constrained differential
    optimization": λ = I + ρ e, I ← I + η e, where e = (E[c] − target) / Σ cost_i.
    The integral I alone would swing about the target, since the policy follows
    λ with delay. It starts where the best subset of each of the first images
    would cost the target, and never leaves [0, λ_max], beyond which not even
    all that an image can gain pays for the cheapest level.

    It moves only when told a cost, that is when the policy has learned: it does
    not wind up while the policy does not choose, and it slows down as the
    policy's learning rate does.

    Args:
        start: λ without a target.
        mean_cost: the target, in the levels' currency; None for none.
    """

    _integral: Tensor
    _error: Tensor
    _range: Tensor
    _candidates: Tensor
    _spent: Tensor
    _images: Tensor

    def __init__(self, start: float, mean_cost: float | None = None) -> None:
        super().__init__()
        self.mean_cost = mean_cost
        self._rate = 1.0
        for name, value in (
            ('_integral', torch.tensor(float(start))),
            ('_error', torch.zeros(())),
            ('_range', torch.zeros(())),
            # Values of λ, and what the first images would spend at each.
            ('_candidates', torch.zeros(128)),
            ('_spent', torch.zeros(128)),
            ('_images', torch.zeros(())),
        ):
            self.register_buffer(name, value, persistent=False)

    def bind(self, space: LevelSpace) -> None:
        """Get to know the levels.

        Raises:
            ValueError: no choice of levels has that mean cost.
        """
        self._total = sum(space.costs)
        self._cheapest = min(space.costs)
        if self.mean_cost is None:
            return
        low = space.min_levels * self._cheapest
        high = min(self._total, space.budget)
        check_number('PolicySelector', 'model.selector.mean_cost',
                     self.mean_cost)
        if not low <= self.mean_cost <= high:
            refuse('PolicySelector', 'model.selector.mean_cost',
                   self.mean_cost, 'a mean cost that choices of '
                   f'{", ".join(space.names)} can have, {low} to {high}')

    def value(self) -> Tensor:
        """0-dim λ."""
        if self.mean_cost is None:
            return self._integral
        return self._bounded(
            self._integral + DAMPING * self._range * self._error)

    @torch.no_grad()
    def observe(self, gain: Tensor, share: Tensor) -> None:
        """Follow the range of the gains and, at first, find where to start.

        Args:
            gain: (B, S), of each outcome.
            share: (S,), its cost as a share of Σ cost_i.
        """
        if self.mean_cost is None:
            return
        finite = gain.isfinite().all(-1)
        gain = gain.where(finite[:, None], 0.)
        sums = torch.stack([(gain.amax(-1) - gain.amin(-1)).sum(),
                            finite.sum().to(gain)])
        dist.all_reduce(sums)
        total, images = sums
        mean, first = total / images.clamp(1), self._images == 0
        momentum = torch.where(first, 1., MOMENTUM) * (images > 0)
        self._range.lerp_(mean, momentum)
        self._candidates.copy_(torch.where(
            first, self._most() * torch.logspace(
                -4, 0, len(self._candidates), device=gain.device),
            self._candidates))
        # The knapsack's relaxation: what the best subsets cost falls with λ.
        best = (gain[:, None] - self._candidates[:, None] * share).argmax(-1)
        spent = (share[best] * finite[:, None]).sum(0)
        dist.all_reduce(spent)
        starting = self._images < CALIBRATION
        self._spent += spent
        self._images += images
        too_much = self._spent * self._total > self.mean_cost * self._images
        start = self._candidates[too_much.sum().clamp(max=len(spent) - 1)]
        self._integral.copy_(torch.where(starting, start, self._integral))

    @torch.no_grad()
    def update(self, share: Tensor, steps: int = 1) -> None:
        """Follow what the policy spends.

        Args:
            share: 0-dim, the policy's mean cost as a share of Σ cost_i, equal
                on all ranks.
            steps: gradient steps that it took since it was told last.
        """
        if self.mean_cost is None:
            return
        error = share.to(self._error) - self.mean_cost / self._total
        self._error.lerp_(error, 1 - (1 - MOMENTUM)**steps)
        self._integral.copy_(self._bounded(
            self._integral
            + self._rate * ASCENT * steps * self._range * error))

    def set_progress(self, fraction: float) -> None:
        """Say how much of the training is over, from 0 to 1."""
        self._rate = 1 - fraction

    def run_state(self) -> dict[str, Any]:
        """What a resumed run needs; equal on all ranks."""
        return dict(self.named_buffers())

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`run_state`."""
        for name, buffer in self.named_buffers():
            buffer.copy_(state[name])

    def _most(self) -> Tensor:
        """0-dim λ_max."""
        return self._range * self._total / self._cheapest

    def _bounded(self, value: Tensor) -> Tensor:
        """Within [0, λ_max]."""
        return torch.minimum(value.clamp(min=0), self._most())
