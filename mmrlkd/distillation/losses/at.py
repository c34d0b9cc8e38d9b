"""Attention transfer."""

import torch.nn.functional as F
from torch import Tensor

from mmrlkd.registry import LOSSES

from .base import LevelLoss


@LOSSES.register_module()
class ATLoss(LevelLoss):
    """Mean squared difference between the maps' spatial attention.

    The attention of a map is the mean over channels of its squares, as a vector
    over the H·W positions with length 1. The maps' widths may differ.

    Activation-based attention transfer, Zagoruyko & Komodakis, 2017,
    https://arxiv.org/abs/1612.03928. As in their code
    (https://github.com/szagoruyko/attention-transfer), the loss is the mean over
    positions of squared differences; equation 2 of the paper has half the norm
    of the difference.
    """

    compares_channels = False

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        squared = (_attention(student) - _attention(teacher)).square()
        return squared.mean(dim=1)


def _attention(maps: Tensor) -> Tensor:
    """(n, C, H, W) -> (n, H·W), each of length 1, or 0 for a map of zeros."""
    return F.normalize(maps.square().mean(dim=1).flatten(1), dim=1)
