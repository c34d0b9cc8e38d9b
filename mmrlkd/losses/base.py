"""The interface of a distillation loss."""

from abc import abstractmethod

from torch import Tensor, nn


class LevelLoss(nn.Module):
    """Distance between student and teacher at one level, for each sample.

    A sample's loss depends on that sample alone, so that computing a subset
    of a batch gives the numbers that computing all of it would.
    """

    @abstractmethod
    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(n,) loss of float32 maps (n, C, H, W) of equal shape."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Loss per sample.

        Args:
            student: (n, C, H, W), any float type; gradients flow here.
            teacher: (n, C, H, W); no gradient flows here.

        Returns:
            (n,) float32, also under autocast: a mean over a large map loses
            too many bits in half precision.
        """
        return self.distance(student.float(), teacher.detach().float())
