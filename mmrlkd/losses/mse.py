"""Mean squared error between feature maps."""

from torch import Tensor

from mmrlkd.registry import LOSSES

from .base import LevelLoss


@LOSSES.register_module()
class MSELoss(LevelLoss):
    """Mean over channels and positions of the squared difference.

    FitNets (Romero et al., 2015), https://arxiv.org/abs/1412.6550.
    """

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(dim=(1, 2, 3))
