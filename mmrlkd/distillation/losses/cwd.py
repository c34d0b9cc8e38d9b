"""Channel-wise distillation."""

import torch.nn.functional as F
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import LOSSES

from .base import LevelLoss


@LOSSES.register_module()
class CWDLoss(LevelLoss):
    """KL divergence between the channels' spatial distributions.

    A channel's distribution is the softmax over its H·W positions at temperature
    ``tau``; the loss is τ²/C · Σ_c KL(teacher_c ‖ student_c).

    Shu et al., 2021, https://arxiv.org/abs/2011.13256, equation 5.

    Args:
        tau: temperature, > 0.
    """

    compares_positions = True

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        self.tau = check_number('CWDLoss', 'tau', tau, 0, open='low')

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        log_p = F.log_softmax(teacher.flatten(2) / self.tau, dim=2)
        log_q = F.log_softmax(student.flatten(2) / self.tau, dim=2)
        divergence = (log_p.exp() * (log_p - log_q)).sum(dim=2)
        return self.tau**2 * divergence.mean(dim=1)
