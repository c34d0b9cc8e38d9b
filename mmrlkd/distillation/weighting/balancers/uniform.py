"""Equal weights."""

from torch import Tensor

from mmrlkd.registry import BALANCERS

from .base import Balancer


@BALANCERS.register_module()
class UniformBalancer(Balancer):
    """All weights are 1, the plain sum; for ``report_every`` alone."""

    needs_gradients = False

    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        return self.weights
