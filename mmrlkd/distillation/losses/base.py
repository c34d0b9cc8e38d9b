"""The interface of a distillation loss."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from mmrlkd.structures import Boxes


class LevelLoss(nn.Module):
    """Distance between student and teacher at one level, for each sample.

    A sample's loss depends on that sample alone, so that computing a subset
    of a batch gives the numbers that computing all of it would.

    Attributes:
        needs_boxes: whether :meth:`distance` is given the objects' boxes.
        compares_channels: whether the maps must be equally wide. Where they
            need not be, the connector leaves the student's width alone.
        compares_positions: whether a channel of one position alone, which a
            1×1 map has, has a loss of 0 whatever its value.
    """

    needs_boxes = False
    compares_channels = True
    compares_positions = False

    def bind(self, channels: int) -> None:
        """Make what is learnt; called once, before the first forward pass.

        Args:
            channels: width of the teacher's map.
        """

    @abstractmethod
    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(n,) loss of float32 maps (n, C, H, W) of equal shape.

        Where ``compares_channels`` is False, C may differ. Where
        ``needs_boxes``, the third argument is :class:`Boxes` of n images.
        """

    def forward(self, student: Tensor, teacher: Tensor,
                boxes: Boxes | None = None) -> Tensor:
        """Loss per sample.

        Args:
            student: (n, C, H, W), any float type; gradients flow here.
            teacher: (n, C, H, W); no gradient flows here.
            boxes: of the n images; only needed where ``needs_boxes``.

        Returns:
            (n,) float32, also under autocast: a mean over a large map loses
            too many bits in half precision.

        Raises:
            ValueError: boxes are needed and missing, or widths must agree
                and do not.
        """
        name = type(self).__name__
        if self.compares_channels and student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f'loss.type is {name}, which compares channel by channel, and '
                f'the maps have {student.shape[1]} and {teacher.shape[1]}; '
                'accepted: a connector that projects, such as '
                'mmrlkd.ConvConnector.')
        extra: tuple[Boxes, ...] = ()
        if self.needs_boxes:
            if boxes is None:
                raise ValueError(
                    f'loss.type is {name}, which needs the boxes of the '
                    'objects, and the images come without; accepted: a task '
                    'with boxes, or a loss that needs none.')
            extra = (boxes, )
        with torch.autocast(student.device.type, enabled=False):
            return self.distance(
                student.float(), teacher.detach().float(), *extra)
