"""How much of the distance to the teacher is not covered yet."""

import torch
from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import Reward


@REWARDS.register_module()
class ResidualReward(Reward):
    """L = Σ_{i not selected} ℓ_i / Σ_i ℓ_i over all levels.

    1 while nothing is selected, 0 once everything is; an image that already
    agrees with its teacher everywhere has nothing left: L = 0.
    """

    def potential(self, levels: Tensor, signals: Signals) -> Tensor:
        losses = signals.discrepancy()
        total = losses.sum(-1).clamp(min=torch.finfo(losses.dtype).tiny)
        return losses.where(~levels, 0.).sum(-1) / total
