"""PCGrad: conflicting gradients are projected onto each other's normal plane."""

import torch
from torch import Tensor

from mmrlkd.arguments import check_bool
from mmrlkd.registry import BALANCERS

from .base import Balancer


@BALANCERS.register_module()
class PCGrad(Balancer):
    """Gradient surgery, as weights of one backward pass.

    In random order, each gradient g_i is projected onto the normal plane of every
    **original** g_j, j ≠ i, with which the projected gradient so far has a
    negative product; the results are summed. A projection adds a multiple of
    g_j, so the sum is Σ_j w_j g_j: all w are 1 without conflict, and larger with
    one. The weights of the active levels therefore sum to their number or more.
    They are not scaled back, because the sum would not be PCGrad's. There is no
    state from batch to batch.

    The published method uses all shared parameters. With one shared layer W this
    is an approximation: a conflict at W counts as a conflict everywhere.
    ``exact=True`` uses all parameters of backbone and neck, which takes one full
    backward pass for each level.

    Yu et al., 2020, https://arxiv.org/abs/2001.06782, algorithm 1.

    Args:
        exact: use all parameters that the levels depend on.
    """

    stateful = False

    def __init__(self, exact: bool = False) -> None:
        super().__init__()
        self.everywhere = check_bool('PCGrad', 'exact', exact)

    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        products = rows @ rows.T
        n = len(rows)
        # Row i of `mix` has the coefficients of the projected g_i in terms of
        # the original gradients. All rows are projected at once.
        mix = torch.eye(n, dtype=rows.dtype, device=rows.device)
        own = torch.arange(n, device=rows.device)
        orders = torch.stack([torch.randperm(n) for _ in range(n)])
        for other in orders.to(rows.device, non_blocking=True).T:
            product = (mix * products[other]).sum(dim=1)
            length = products.diagonal()[other]
            # Without a direction to project from if the length underflows to 0.
            conflict = (product < 0) & (other != own) & (length > 0)
            mix[own, other] -= (product / length).where(conflict, 0)
        return mix.sum(dim=0)
