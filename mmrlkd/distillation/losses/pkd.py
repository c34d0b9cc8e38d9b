"""Distillation by Pearson correlation."""

import torch.nn.functional as F
from torch import Tensor

from mmrlkd.registry import LOSSES

from .base import LevelLoss

#: Added to a channel's variance; bounds the gradient of a constant channel,
#: whose correlation is not defined.
EPSILON = 1e-6


@LOSSES.register_module()
class PKDLoss(LevelLoss):
    """1 − Pearson correlation of each channel, mean over channels.

    Computed as half the mean squared difference between channels with zero mean
    and unit variance, which is equal. The loss of a channel that is constant in
    one of the maps is 1/2; if it is constant in both, it is 0.

    Cao et al., 2022, https://arxiv.org/abs/2207.02039. In the paper and in
    MMRazor's code, the mean and the variance of a channel are over all images of
    the batch; here they are over the H·W positions of one image, so that a
    sample's loss depends on that sample only. The variance is the biased one,
    for which the equality holds; MMRazor's ``std`` divides by n − 1 instead of
    the n positions, which makes its loss (n − 1)/n times as large.
    """

    compares_positions = True

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        squared = F.mse_loss(
            _normalised(student), _normalised(teacher), reduction='none')
        return squared.mean(dim=(1, 2, 3)) / 2


def _normalised(maps: Tensor) -> Tensor:
    """(n, C, H, W) with zero mean and unit variance over H and W."""
    return F.layer_norm(maps, maps.shape[-2:], eps=EPSILON)
