"""Distillation of relations (DIST)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import LOGIT_LOSSES

from .base import LogitLoss

#: A row whose deviation is below this share of its norm counts as constant: the
#: deviation is then rounding noise of float32.
CONSTANT = 1e-6


@LOGIT_LOSSES.register_module()
class DISTLoss(LogitLoss):
    """Correlation of the class probabilities, by row and by class.

    With P and Q (N, K) the probabilities of teacher and student at
    temperature τ and r Pearson's correlation:

    inter = 1 − mean_n r(P_n, Q_n), between the classes of a row
    intra = 1 − mean_k r(P_·k, Q_·k), between the rows of a batch for a class

    The loss is τ² · (β·inter + γ·intra). If a row or class is constant in student
    or teacher, its r counts as 0, with zero gradient. So a batch of one row has
    intra = 1.

    Huang et al., 2022, https://arxiv.org/abs/2205.10536.

    Args:
        beta: weight of inter, >= 0.
        gamma: weight of intra, >= 0.
        tau: temperature, > 0.
    """

    def __init__(self, beta: float = 1.0, gamma: float = 1.0,
                 tau: float = 1.0) -> None:
        super().__init__()
        self.beta = check_number('DISTLoss', 'beta', beta, 0)
        self.gamma = check_number('DISTLoss', 'gamma', gamma, 0)
        self.tau = check_number('DISTLoss', 'tau', tau, 0, open='low')

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        p = F.softmax(teacher / self.tau, dim=1)
        q = F.softmax(student / self.tau, dim=1)
        inter = 1 - _correlation(p, q).mean()
        intra = 1 - _correlation(p.T, q.T).mean()
        return self.tau**2 * (self.beta * inter + self.gamma * intra)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """(n,) Pearson's r of the rows of two (n, m)."""
    return (_direction(a) * _direction(b)).sum(dim=1)


def _direction(rows: Tensor) -> Tensor:
    """Each row's deviation from its mean, of length 1; 0 if constant."""
    deviation = rows - rows.mean(dim=1, keepdim=True)
    length = deviation.norm(dim=1, keepdim=True)
    constant = length <= CONSTANT * rows.norm(dim=1, keepdim=True)
    return deviation / length.masked_fill(constant, torch.inf)
