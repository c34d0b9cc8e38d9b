"""Vanilla knowledge distillation."""

import torch.nn.functional as F
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import LOGIT_LOSSES

from .base import LogitLoss


@LOGIT_LOSSES.register_module()
class KLLoss(LogitLoss):
    """KL divergence between the class probabilities.

    τ²/N · Σ_n KL(softmax(t_n / τ) ‖ softmax(s_n / τ)). The factor τ² keeps the
    gradient's size when τ changes.

    For heads with a sigmoid for each class, as multi-label heads have, the
    divergence of a row is the sum over its classes of the divergence between two
    Bernoulli distributions, with probabilities σ(t_nk / τ) and σ(s_nk / τ).

    Hinton et al., 2015, https://arxiv.org/abs/1503.02531.

    Args:
        tau: temperature, > 0. The paper leaves it open; 4 is usual for small
            images (mdistiller on CIFAR-100), 1 on ImageNet and for pixels.
    """

    takes_sigmoid = True

    def __init__(self, tau: float = 4.0) -> None:
        super().__init__()
        self.tau = check_number('KLLoss', 'tau', tau, 0, open='low')

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        teacher, student = teacher / self.tau, student / self.tau
        if self.sigmoid:
            divergence = (_bernoulli_term(teacher, student)
                          + _bernoulli_term(-teacher, -student))
        else:
            log_p = F.log_softmax(teacher, dim=1)
            log_q = F.log_softmax(student, dim=1)
            divergence = log_p.exp() * (log_p - log_q)
        divergence = divergence.sum(dim=1)
        return self.tau**2 * divergence.mean()


def _bernoulli_term(teacher: Tensor, student: Tensor) -> Tensor:
    """p·log(p/q) with p = σ(teacher), q = σ(student): one of the two terms."""
    return F.sigmoid(teacher) * (F.logsigmoid(teacher) - F.logsigmoid(student))
