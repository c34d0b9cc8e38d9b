"""Weights by a running mean of the inverse gradient norms."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import BALANCERS

from .base import Balancer, floored_norms


@BALANCERS.register_module()
class EMABalancer(Balancer):
    """w_i in proportion to a running mean of 1 / g_i, g_i = ‖∇_W L_i‖.

    These are the weights that GradNorm with α = 0 approaches in small steps. The
    running mean of a level starts at its first value and does not change while
    the level is not selected.

    Args:
        decay: weight of the old running mean at each batch, in [0, 1); with 0
            the weights are those of each batch by itself.
    """

    inverse: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = check_number(
            'EMABalancer', 'decay', decay, 0, 1, open='high')

    def bind(self, names: Sequence[str]) -> None:
        super().bind(names)
        # 0 until the level is selected for the first time.
        self.register_buffer('inverse', torch.zeros(len(names)))

    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        norms, active = floored_norms(rows, active)
        inverse = 1 / norms
        mean = torch.where(
            self.inverse > 0, inverse.lerp(self.inverse, self.decay), inverse)
        self.inverse.copy_(torch.where(active, mean, self.inverse))
        moved = self._redistribute(self.inverse, active)
        return torch.where(active, moved, self.weights)
