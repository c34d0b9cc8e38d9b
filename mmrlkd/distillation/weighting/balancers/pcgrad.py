"""Conflicting gradients, each projected off the other."""

import torch
from torch import Tensor

from mmrlkd.arguments import check_bool
from mmrlkd.registry import BALANCERS

from .base import Balancer


@BALANCERS.register_module()
class PCGrad(Balancer):
    """Gradient surgery, as weights of one backward pass.

    Each gradient g_i is projected off every **original** g_j, j ≠ i, with
    which what is left of it has a negative product, in random order; the
    results are summed. Every projection only adds a multiple of g_j, so the
    sum is Σ_j w_j g_j: without conflict all w are 1, with conflict larger.
    The weights of the active levels therefore sum to their number or more;
    they are not scaled back, or this would not be PCGrad's sum. Nothing is
    remembered from batch to batch.

    At one shared layer W this approximates the published method, which looks
    at all shared parameters: a conflict there is taken for a conflict
    everywhere. ``exact=True`` looks at all parameters of backbone and neck,
    for one full backward pass a level.

    Yu et al., 2020, https://arxiv.org/abs/2001.06782, algorithm 1.

    Args:
        exact: look at all parameters that the levels depend on.
    """

    stateful = False

    def __init__(self, exact: bool = False) -> None:
        super().__init__()
        self.everywhere = check_bool('PCGrad', 'exact', exact)

    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        products = rows @ rows.T
        n = len(rows)
        # Row i of `mix` holds what gradient i has become, in terms of all.
        mix = torch.eye(n, dtype=rows.dtype, device=rows.device)
        own = torch.arange(n, device=rows.device)
        orders = torch.stack([torch.randperm(n) for _ in range(n)])
        for other in orders.to(rows.device, non_blocking=True).T:
            product = (mix * products[other]).sum(dim=1)
            length = products.diagonal()[other]
            # A length that underflows to 0 gives no direction to project off.
            conflict = (product < 0) & (other != own) & (length > 0)
            mix[own, other] -= (product / length).where(conflict, 0)
        return mix.sum(dim=0)
