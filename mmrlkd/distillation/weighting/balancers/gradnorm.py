"""Gradient norms brought to a common scale, step by step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import BALANCERS

from .base import Balancer, floored_norms, mean_of


@BALANCERS.register_module()
class GradNorm(Balancer):
    r"""GradNorm, in closed form.

    With g_i = ‖∇_W L_i‖, G_i = w_i g_i and the inverse training rate
    r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)), the paper's loss is
    Σ_i |G_i − Ḡ r_i^α|, the target held constant. Its derivative by w_i is
    sign(G_i − Ḡ r_i^α) · g_i: no second backward pass is needed. The step is
    taken in log w, which keeps w > 0, and is as long for every level, as
    Adam's would be; it stops where it reaches its target, so that it does not
    oscillate there. Then the weights are scaled back to the sum they had.

    α = 0 makes all norms equal, w_i ∝ 1 / g_i; α = 1 gives w_i ∝ r_i / g_i.
    Any other α, the 1.5 of the paper included, has no consistent fixed point:
    the targets then sum to another number than the norms do, because
    mean(r^α) ≠ 1, and where all levels lie on one side of their targets,
    scaling the weights back undoes the whole step. So the weighted norms come
    to be ordered as the training rates are, not to r^α, and where they stop
    depends on where they came from.

    Chen et al., 2018, https://arxiv.org/abs/1711.02257.

    Args:
        alpha: how much more a level counts that trains more slowly, >= 0.
        lr: largest relative change of a weight in one step, before they are
            scaled back; in (0, 1).
    """

    initial: Tensor

    def __init__(self, alpha: float = 1.5, lr: float = 1e-2) -> None:
        super().__init__()
        self.alpha = check_number('GradNorm', 'alpha', alpha, 0)
        self.lr = check_number('GradNorm', 'lr', lr, 0, 1, open='both')

    def bind(self, names: Sequence[str]) -> None:
        super().bind(names)
        # The first loss of each, 0 until it is seen.
        self.register_buffer('initial', torch.zeros(len(names)))

    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        norms, active = floored_norms(rows, active)
        losses = losses.clamp_min(torch.finfo(losses.dtype).tiny)
        fresh = active & (self.initial == 0)
        self.initial.copy_(torch.where(fresh, losses, self.initial))
        progress = losses / self.initial.where(active, 1)
        rates = progress / mean_of(progress, active)
        weighted = self.weights * norms
        target = mean_of(weighted, active) * rates**self.alpha
        step = (weighted / target).log().clamp(-self.lr, self.lr)
        moved = self._redistribute(self.weights * (-step).exp(), active)
        return torch.where(active, moved, self.weights)
