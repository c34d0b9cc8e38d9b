"""The interface of a distillation loss."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from mmrlkd.structures import Boxes


class LevelLoss(nn.Module):
    """Distance between student and teacher at one level, for each sample.

    A sample's loss depends on that sample only, so that its value is the same
    whether it is computed for a part of the batch or for all of it.

    Attributes:
        needs_boxes: whether :meth:`distance` gets the objects' boxes.
        compares_channels: whether the maps must have the same width. If not, the
            connector keeps the student's width.
        compares_positions: whether the loss compares the positions of a channel
            with one another, so that it is always 0 for a 1×1 map.
    """

    needs_boxes = False
    compares_channels = True
    compares_positions = False

    def bind(self, channels: int) -> None:
        """Create learned modules; called once, before the first forward pass.

        Args:
            channels: width of the teacher's map.
        """

    @abstractmethod
    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(n,) loss of float32 maps (n, C, H, W) of equal shape.

        C may differ if ``compares_channels`` is False. With ``needs_boxes``, the
        third argument is the :class:`Boxes` of the n images.
        """

    def forward(self, student: Tensor, teacher: Tensor,
                boxes: Boxes | None = None) -> Tensor:
        """Loss per sample.

        Args:
            student: (n, C, H, W), any float type; gradients flow here.
            teacher: (n, C, H, W); no gradient flows here.
            boxes: of the n images; used with ``needs_boxes`` only.

        Returns:
            (n,) float32, also under autocast, because a mean over a large map is
            inaccurate in half precision.

        Raises:
            ValueError: boxes are needed and missing, or widths must be equal
                and are not.
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
