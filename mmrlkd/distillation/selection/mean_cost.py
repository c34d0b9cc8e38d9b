"""λ, the weight of the cost in a reward: constant, or fitted to a mean cost."""

from typing import Any

import torch
from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse
from mmrlkd.distillation.selection.policies.base import LevelPolicy
from mmrlkd.rl.distributions import SubsetDistribution
from mmrlkd.rl.policy import Memory, PolicyModule
from mmrlkd.structures import LevelSpace, State

#: Share of Newton's step that is taken. The cost is measured on the images of
#: one gradient step only, and a full step would follow that noise.
RATE = 0.2
#: A step of dual ascent changes the price by at most MOST · (1 + price). Newton's
#: step is unbounded where the policy is certain of all images, because the
#: variance of the cost is then 0. The bound grows with the price, because the
#: logits that it must outweigh grow as the policy learns.
MOST = 0.25
#: Added to the variance of the cost, which may be 0.
EPSILON = 1e-3
#: Momentum of the running mean of the temperature.
MOMENTUM = 0.1
#: Share of the error at new images by which an update corrects the target, and
#: what the correction may be at most, as a share of the target.
INTEGRAL, LARGEST = 0.2, 0.5


class LagrangeMultiplier(nn.Module):
    """λ of the reward ``gain − λ · cost / Σ cost_i``.

    Without a target it is constant. With one, ``max E[gain] subject to E[c] <=
    target`` is solved by dual ascent (Boyd and Vandenberghe 2004, Convex
    Optimization, section 5.9), c being the cost as a share of Σ cost_i.

    With entropy of weight τ the best policy is π ∝ exp((gain − λ c) / τ). So
    the *price* λ / τ is subtracted from the logits of the policy directly
    (:class:`PricedPolicy`), and the network learns gain / τ. The mean cost then
    changes in the same iteration as the price: dE[c] / dprice is minus the mean
    variance of c under the policy, and dual ascent takes a part of Newton's
    step, (E[c] − target) / Var[c]. If the network had to learn λ, it would lag
    behind: λ would overshoot, and levels dropped meanwhile would not come back.

    λ changes when the policy learns, by :meth:`update`. The costs that it gets may
    be of images as an earlier student showed them, where what was learned from
    is kept. So :meth:`correct` moves the target by the integral of the error at
    the images that were distilled since, whether the policy learned from them
    or not: the sum of these errors is the correction over :data:`INTEGRAL`, so
    that their mean goes to 0 as training goes on.

    Args:
        start: λ without a target.
        mean_cost: the target, in the unit of the levels' costs; None for none.

    Attributes:
        price: 0-dim, λ / τ; 0 without a target.
        temperature: 0-dim, τ.
        correction: 0-dim, what is added to the target, as a share of Σ cost_i.
        level_costs: (L,) cost of each level as a share of Σ cost_i.
    """

    price: Tensor
    temperature: Tensor
    correction: Tensor
    level_costs: Tensor

    def __init__(self, start: float, mean_cost: float | None = None) -> None:
        super().__init__()
        self.mean_cost = mean_cost
        for name, value in (('_start', start), ('price', 0.),
                            ('temperature', 0.), ('correction', 0.)):
            self.register_buffer(name, torch.tensor(float(value)),
                                 persistent=False)

    def bind(self, space: LevelSpace) -> None:
        """Store the levels' costs.

        Raises:
            ValueError: no choice of levels has that mean cost.
        """
        total = sum(space.costs)
        self.register_buffer(
            'level_costs', torch.tensor(space.costs) / total, persistent=False)
        if self.mean_cost is None:
            return
        low = space.min_levels * min(space.costs)
        high = min(total, space.budget)
        check_number('PolicySelector', 'model.selector.mean_cost',
                     self.mean_cost)
        if not low <= self.mean_cost <= high:
            refuse('PolicySelector', 'model.selector.mean_cost',
                   self.mean_cost, 'a mean cost that choices of '
                   f'{", ".join(space.names)} can have, {low} to {high}')
        self._target = self.mean_cost / total

    def value(self) -> Tensor:
        """0-dim λ."""
        if self.mean_cost is None:
            return self._start
        return self.price * self.temperature

    @torch.no_grad()
    def update(self, mean: Tensor, variance: Tensor,
               temperature: Tensor) -> None:
        """Take a step of dual ascent; does nothing without a target. All
        arguments are 0-dim and equal on all ranks.

        Args:
            mean: the policy's mean cost as a share of Σ cost_i.
            variance: of an image's cost under the policy, mean over images.
            temperature: τ, weight of the entropy in units of the gains.
        """
        if self.mean_cost is None:
            return
        # E[c] falls with the price at the rate Var[c]: Newton's step for the root
        # of E[c] − target.
        error = mean.to(self.price) - (self._target + self.correction)
        newton = error / (variance.to(self.price) + EPSILON)
        most = MOST * (1 + self.price)
        step = torch.minimum(torch.maximum(RATE * newton, -most), most)
        self.price.copy_((self.price + step).clamp(min=0))
        self.temperature.copy_(torch.where(
            self.temperature > 0,
            self.temperature.lerp(temperature.to(self.price), MOMENTUM),
            temperature.to(self.price)))

    @torch.no_grad()
    def correct(self, mean: Tensor) -> None:
        """Follow what was spent in fact since the last update.

        Args:
            mean: 0-dim, of the cost of the images that were distilled as the
                policy chose, as a share of Σ cost_i; NaN for none. Equal on all
                ranks.
        """
        if self.mean_cost is None:
            return
        error = (self._target - mean.to(self.price)).nan_to_num(0.)
        # Free already, the policy spends no more for a higher target.
        error = torch.where(self.price > 0, error, error.clamp(max=0))
        most = LARGEST * self._target
        self.correction.add_(INTEGRAL * error).clamp_(-most, most)

    def run_state(self) -> dict[str, Any]:
        """What a resumed run needs; equal on all ranks."""
        return {'price': self.price, 'temperature': self.temperature,
                'correction': self.correction}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`run_state`."""
        for name, value in state.items():
            getattr(self, name).copy_(value)


class PricedPolicy(PolicyModule):
    """A policy from whose logits the price of each level is subtracted.

    Args:
        policy: bound to the levels.
        multiplier: holds the price; bound to the levels.
    """

    def __init__(self, policy: LevelPolicy,
                 multiplier: LagrangeMultiplier) -> None:
        super().__init__()
        self.policy = policy
        self.multiplier = multiplier

    def initial(self, batch: int, device: torch.device) -> Memory:
        return self.policy.initial(batch, device)

    def forward(self, observation: State, memory: Memory
                ) -> tuple[SubsetDistribution, Tensor, Memory]:
        choice, value, memory = self.policy(observation, memory)
        logits = choice.logits - (
            self.multiplier.price * self.multiplier.level_costs)
        return choice.with_logits(logits), value, memory
