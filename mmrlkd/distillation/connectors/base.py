"""The interface of a connector."""

from abc import abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn


class Connector(nn.Module):
    """Maps a student's map to the width and size of the teacher's.

    Args:
        student_channels: width of the student's map.
        teacher_channels: width of the teacher's map.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels

    @abstractmethod
    def project(self, student: Tensor) -> Tensor:
        """(n, student_channels, h, w) -> (n, teacher_channels, h, w)."""

    def forward(self, student: Tensor, size: tuple[int, int]) -> Tensor:
        """Project, then resize if teacher and student differ in size.

        Args:
            student: (n, student_channels, h, w).
            size: (H, W) of the teacher's map.

        Returns:
            (n, teacher_channels, H, W).
        """
        projected = self.project(student)
        if projected.shape[-2:] != size:
            projected = F.interpolate(
                projected, size=size, mode='bilinear', align_corners=False)
        return projected
