"""How much of the distance to the teacher is not covered yet."""

import torch
from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Evidence

from .base import Reward


@REWARDS.register_module()
class ResidualReward(Reward):
    """L = Σ_{i not selected} ℓ_i / Σ_i ℓ_i over all levels.

    1 while nothing is selected, 0 once everything is; an image that already
    agrees with its teacher everywhere has nothing left: L = 0.
    """

    def yardstick(self, levels: Tensor, evidence: Evidence) -> Tensor:
        losses = evidence.discrepancy()
        total = losses.sum(-1).clamp(min=torch.finfo(losses.dtype).tiny)
        return losses.where(~levels, 0.).sum(-1) / total
