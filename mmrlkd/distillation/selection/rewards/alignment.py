"""Does distilling a level push where the task pushes?"""

import torch
from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import Reward


@REWARDS.register_module()
class AlignmentReward(Reward):
    """L = −Σ_{i selected} a_i / Σ_i |a_i|, with a_i the inner product of the
    task's gradient and level i's distillation gradient at the student's maps.

    To first order, a student step along level i's distillation gradient
    lowers the task loss in proportion to a_i; a level that works against the
    task (a_i < 0) raises L. Without any gradient, L = 0.
    """

    needs_gradients = True

    def potential(self, levels: Tensor, signals: Signals) -> Tensor:
        products = signals.alignment()
        scale = products.abs().sum(-1).clamp(
            min=torch.finfo(products.dtype).tiny)
        return -products.where(levels, 0.).sum(-1) / scale
