"""Mean squared error between feature maps."""

import torch.nn.functional as F
from torch import Tensor

from mmrlkd.registry import LOSSES

from .base import LevelLoss


@LOSSES.register_module()
class MSELoss(LevelLoss):
    """Mean over channels and positions of the squared difference.

    FitNets (Romero et al., 2015), https://arxiv.org/abs/1412.6550.
    """

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        squared = F.mse_loss(student, teacher, reduction='none')
        return squared.mean(dim=(1, 2, 3))
