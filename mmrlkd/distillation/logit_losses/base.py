"""The interface of a logit loss."""

from collections.abc import Callable
from typing import ClassVar

import torch.nn.functional as F
from torch import Size, Tensor, nn


class LogitLoss(nn.Module):
    """Distance between the class logits of student and teacher.

    A classifier has one row of K logits for each image, a segmentor one for each
    pixel; a loss compares rows. Nothing here waits for the device: rows without
    a label are masked, not removed.
    """

    #: Whether the labels of the batch are needed.
    needs_targets: ClassVar[bool] = False
    #: Whether it has a variant for heads with a sigmoid for each class.
    takes_sigmoid: ClassVar[bool] = False
    #: Whether it uses that variant; set by what builds it.
    sigmoid = False

    #: The 0-dim loss of rows: (student (N, K), teacher (N, K)) and, where the
    #: loss needs targets, (N,) int64. A label < 0 or >= K is no label.
    divergence: Callable[..., Tensor]

    def forward(self, student: Tensor, teacher: Tensor,
                targets: Tensor | None = None) -> Tensor:
        """Loss of the batch.

        Args:
            student: (B, K) or (B, K, h, w) logits of any float type;
                gradients flow here.
            teacher: (B, K) or (B, K, h', w'), resized bilinearly to the
                student's; no gradient flows here.
            targets: int64 labels (B,) or (B, H, W); each position of the
                student gets the label nearest to its centre. A label < 0 or
                >= K is no label. Used with ``needs_targets`` only.

        Returns:
            0-dim float32, also under autocast, because a mean over many pixels
            is inaccurate in half precision.
        """
        classes = student.shape[1]
        if classes < 2 and not self.sigmoid:
            raise ValueError(
                f'student has {classes} class; accepted: 2 or more, as '
                'logit_loss compares the probabilities of a softmax.')
        if teacher.shape[1] != classes:
            raise ValueError(
                f'teacher has {teacher.shape[1]} classes; accepted: the '
                f'{classes} of the student, as logit_loss compares them one '
                'by one.')
        size = student.shape[2:]
        teacher = teacher.detach().float()
        if teacher.shape[2:] != size:
            teacher = F.interpolate(
                teacher, size, mode='bilinear', align_corners=False)
        rows = [_rows(student.float()), _rows(teacher)]
        if self.needs_targets:
            if targets is None:
                raise ValueError(
                    f'logit_loss.type is {type(self).__name__}, which needs '
                    'labels; accepted: a batch with a label for each image '
                    'or pixel.')
            rows.append(_labels(targets, size))
        return self.divergence(*rows)


def _rows(logits: Tensor) -> Tensor:
    """(N, K) of (B, K, …)."""
    return logits.movedim(1, -1).flatten(0, -2)


def _labels(targets: Tensor, size: Size) -> Tensor:
    """(N,) of (B, …), resized; float32 holds each label exactly."""
    if targets.shape[1:] != size:
        targets = F.interpolate(
            targets[:, None].float(), size, mode='nearest-exact').long()
    return targets.flatten()
