"""GradNorm."""

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
    Σ_i |G_i − Ḡ r_i^α|, with constant targets. Its derivative by w_i is
    sign(G_i − Ḡ r_i^α) · g_i, so no second backward pass is needed. The step is
    taken in log w, which keeps w > 0, and has the same length for every level,
    as Adam's. It ends at its target, so that it does not oscillate around it.
    Then the weights are scaled back to their sum.

    α = 0 makes all norms equal, w_i ∝ 1 / g_i; α = 1 gives w_i ∝ r_i / g_i. Any
    other α, also the paper's 1.5, has no consistent fixed point: the targets do
    not have the sum of the norms, because mean(r^α) ≠ 1, and if all levels are
    on one side of their targets, scaling the weights back undoes the step. The
    weighted norms then get the order of the training rates, but not the values
    r^α, and their final values depend on the initial ones.

    Chen et al., 2018, https://arxiv.org/abs/1711.02257.

    Args:
        alpha: how strongly slowly training levels are preferred, >= 0.
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
        # L_i(0), the first loss of each level; 0 until it is selected.
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
