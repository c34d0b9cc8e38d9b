"""What running a setting on an image within a budget is worth."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mmrlkd.arguments import check_number


@dataclass(frozen=True)
class BudgetReward:
    """α · quality − β · latency penalty − γ · violation − ε · complexity
    + δ · efficiency, with

    - latency penalty: σ((t / b − 1) / s) of the latency t, the controller's own
      time included, and the budget b: smooth, 1/2 where the budget is spent;
    - violation: 1 if t > b;
    - complexity: the setting's mean latency as a share of the full setting's;
    - efficiency: what is left of the budget, 1 − t / b, and 0 if nothing is.

    By default time below the budget costs nothing, as settings that would break it
    are masked, and what is late is worth nothing. β, δ and ε buy speed with
    quality, also where nobody has asked for it.

    Attributes:
        quality: α.
        latency: β.
        violation: γ.
        complexity: ε.
        efficiency: δ.
        softness: s, width of the penalty's slope as a share of the budget.
    """
    quality: float = 1.
    latency: float = 0.
    violation: float = 1.
    complexity: float = 0.
    efficiency: float = 0.
    softness: float = 0.05

    def __post_init__(self) -> None:
        for each in fields(self):
            check_number('budget.reward', each.name, getattr(self, each.name), 0,
                         open='low' if each.name == 'softness' else '')

    def __call__(self, quality: Tensor, latency: Tensor, budget: Tensor,
                 complexity: Tensor) -> Tensor:
        """The rewards.

        Args:
            quality: (B, S), in [0, 1].
            latency: (B, S), in the unit of the budget.
            budget: (B,), may be infinite.
            complexity: (S,).

        Returns:
            (B, S).
        """
        spent = latency / budget[:, None]
        return (self.quality * quality
                - self.latency * torch.sigmoid((spent - 1) / self.softness)
                - self.violation * (spent > 1).to(quality)
                - self.complexity * complexity
                + self.efficiency * (1 - spent).clamp(min=0))
