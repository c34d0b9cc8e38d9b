"""Masked generative distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrlkd.arguments import check_number
from mmrlkd.registry import LOSSES

from .base import LevelLoss


@LOSSES.register_module()
class MGDLoss(LevelLoss):
    """Squared error of the teacher's map, generated from the masked student's.

    Random positions of the student's map are set to zero, in all channels and
    independently for each sample. From the rest, 3×3 convolution – ReLU – 3×3
    convolution, trained with the student, generates the teacher's whole map.

    Yang et al., 2022, https://arxiv.org/abs/2205.01529. Their code sums the
    squared error over channels and positions with a weight of 2e-5; here it is
    the mean, as in :class:`.mse.MSELoss`.

    Args:
        ratio: share of positions that are masked, in [0, 1). The authors take
            0.65 for one-stage and 0.45 for two-stage detectors.
    """

    generation: nn.Sequential | None

    def __init__(self, ratio: float = 0.65) -> None:
        super().__init__()
        self.ratio = check_number('MGDLoss', 'ratio', ratio, 0, 1, open='high')
        self.generation = None

    def bind(self, channels: int) -> None:
        self.generation = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1))

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.generation is None:
            raise RuntimeError(
                'MGDLoss has no generation block yet; accepted: '
                'bind(channels) before the first forward pass.')
        n, _, height, width = student.shape
        # One mask for all channels, as in the authors' code.
        kept = torch.rand(n, 1, height, width,
                          device=student.device) >= self.ratio
        squared = F.mse_loss(
            self.generation(student * kept), teacher, reduction='none')
        return squared.mean(dim=(1, 2, 3))
