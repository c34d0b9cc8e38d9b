"""Decoupled knowledge distillation."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import LOGIT_LOSSES

from .base import LogitLoss


@LOGIT_LOSSES.register_module()
class DKDLoss(LogitLoss):
    """Separate KL divergences of the label's class and of the other classes.

    With p_t the probability of a row's label at temperature τ, and p̂ the
    probabilities of the other classes given that it is not the label:

    TCKD = KL((p_t, 1 − p_t) of the teacher ‖ of the student)
    NCKD = KL(p̂ of the teacher ‖ of the student)

    The loss is τ² times the mean of α·TCKD + β·NCKD over the rows with a label,
    and 0 if there is none. :class:`.KLLoss` is TCKD + (1 − p_t)·NCKD, in which
    the other classes have almost no weight if the teacher is confident.

    Zhao et al., 2022, https://arxiv.org/abs/2203.08679.

    Args:
        alpha: weight of the label's class, >= 0.
        beta: weight of the other classes, >= 0.
        tau: temperature, > 0.
    """

    needs_targets = True

    def __init__(self, alpha: float = 1.0, beta: float = 8.0,
                 tau: float = 4.0) -> None:
        super().__init__()
        self.alpha = check_number('DKDLoss', 'alpha', alpha, 0)
        self.beta = check_number('DKDLoss', 'beta', beta, 0)
        self.tau = check_number('DKDLoss', 'tau', tau, 0, open='low')

    def divergence(self, student: Tensor, teacher: Tensor,
                   targets: Tensor) -> Tensor:
        classes = torch.arange(student.shape[1], device=student.device)
        is_label = classes == targets[:, None]
        labelled = is_label.any(dim=1)
        p = _decouple(teacher / self.tau, is_label)
        q = _decouple(student / self.tau, is_label)
        tckd = (p.label.exp() * (p.label - q.label) +
                p.rest.exp() * (p.rest - q.rest))
        nckd = (p.others.exp() * (p.others - q.others)).sum(dim=1)
        losses = (self.alpha * tckd + self.beta * nckd).where(labelled, 0)
        return self.tau**2 * losses.sum() / labelled.sum().clamp_min(1)


class _Decoupled(NamedTuple):
    """Log-probabilities; finite even if a probability rounds to 0 or 1."""

    label: Tensor  # (N,) of the label's class
    rest: Tensor  # (N,) of all other classes together
    others: Tensor  # (N, K) of each given that it is another; 0 at the label


def _decouple(logits: Tensor, is_label: Tensor) -> _Decoupled:
    log_p = F.log_softmax(logits, dim=1)
    label = log_p.masked_fill(~is_label, 0).sum(dim=1)
    rest = log_p.masked_fill(is_label, -torch.inf).logsumexp(dim=1)
    others = (log_p - rest[:, None]).masked_fill(is_label, 0)
    return _Decoupled(label, rest, others)
