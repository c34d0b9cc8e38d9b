"""Focal and global distillation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import LOSSES
from mmrlkd.structures import Boxes

from .base import LevelLoss
from .gc_block import GcBlock


@LOSSES.register_module()
class FGDLoss(LevelLoss):
    """Separate losses of objects and background, with attention and relations.

    A map's spatial attention A is a softmax over the H·W positions of the mean
    magnitude of the channels, times H·W; its channel attention a is a softmax
    over the C channels of the mean magnitude of the positions, times C; both
    at temperature ``tau``. The loss of a sample is the weighted sum of

    - foreground: Σ M · A_t · a_t · (s − t)² over channels and positions, with
      M = 1/(h·w) in the h·w cells of a box, that of the smallest box where
      several overlap, and 0 outside of all;
    - background: the same, with M = 1/(number of cells outside of all boxes)
      there, and 0 inside;
    - attention: Σ |A_s − A_t| + Σ |a_s − a_t|;
    - relation: Σ (G_s(s) − G_t(t))², with two :class:`GcBlock` G that are
      trained with the student.

    Yang et al., 2022, https://arxiv.org/abs/2111.11837. Follows the authors' code
    (https://github.com/yzd-v/FGD) in its constants, its sums and the cells of a
    box, floor(x1) to ceil(x2) inclusive. One difference: the code scales boxes
    by the size of each image without padding; here they are scaled by the size
    of the padded image, which the maps cover.

    Args:
        tau: temperature of the attention, > 0.
        foreground: weight of that part (the paper's α), >= 0.
        background: weight of that part (β), >= 0.
        attention: weight of that part (γ), >= 0.
        relation: weight of that part (λ), >= 0.
    """

    needs_boxes = True
    student_block: GcBlock | None
    teacher_block: GcBlock | None

    def __init__(self, tau: float = 0.5, foreground: float = 1e-3,
                 background: float = 5e-4, attention: float = 1e-3,
                 relation: float = 5e-6) -> None:
        super().__init__()
        self.tau = check_number('FGDLoss', 'tau', tau, 0, open='low')
        self.foreground = check_number('FGDLoss', 'foreground', foreground, 0)
        self.background = check_number('FGDLoss', 'background', background, 0)
        self.attention = check_number('FGDLoss', 'attention', attention, 0)
        self.relation = check_number('FGDLoss', 'relation', relation, 0)
        self.student_block = self.teacher_block = None

    def bind(self, channels: int) -> None:
        self.student_block = GcBlock(channels)
        self.teacher_block = GcBlock(channels)

    def distance(  # type: ignore[override]
            self, student: Tensor, teacher: Tensor, boxes: Boxes) -> Tensor:
        if self.student_block is None or self.teacher_block is None:
            raise RuntimeError(
                'FGDLoss has no relation blocks yet; accepted: '
                'bind(channels) before the first forward pass.')
        # The focal term is weighted by the teacher's attention only: the student's
        # would let it lower the loss by attending elsewhere.
        where, which = self._attend(student)
        true_where, true_which = self._attend(teacher)
        objects = box_mask(boxes, student.shape[-2:])
        rest = (objects == 0).float()
        rest = rest / rest.sum(dim=(1, 2), keepdim=True).clamp_min(1)
        # Both sums of the focal term at once: the masks do not overlap.
        mask = self.foreground * objects + self.background * rest
        squared = (student - teacher).square()
        squared = (squared * true_which[..., None, None]).sum(dim=1)
        focal = (mask * true_where * squared).sum(dim=(1, 2))
        attention = ((where - true_where).abs().sum(dim=(1, 2)) +
                     (which - true_which).abs().sum(dim=1))
        relation = (self.student_block(student) -
                    self.teacher_block(teacher)).square().sum(dim=(1, 2, 3))
        return focal + self.attention * attention + self.relation * relation

    def _attend(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Attention (n, H, W) and (n, C) of maps (n, C, H, W); mean 1."""
        magnitude = maps.abs() / self.tau
        positions = magnitude.mean(dim=1).flatten(1)
        channels = magnitude.mean(dim=(2, 3))
        return (
            (positions.shape[1] * positions.softmax(dim=1)).unflatten(
                1, maps.shape[-2:]),
            channels.shape[1] * channels.softmax(dim=1))


def box_mask(boxes: Boxes, size: Sequence[int]) -> Tensor:
    """1/(h·w) in the cells of each box; the largest value where boxes overlap.

    Args:
        boxes: K of each of n images.
        size: (H, W) of the mask.

    Returns:
        (n, H, W), 0 in cells outside of all boxes.
    """
    # The mask of a box is the outer product of its rows and its columns.
    left, top, right, bottom = boxes.corners.unbind(dim=-1)
    rows, height = _cells(top, bottom, size[0])
    columns, width = _cells(left, right, size[1])
    rows = rows * (boxes.valid / (height * width))[..., None]
    return (rows[..., :, None] * columns[..., None, :]).amax(dim=1)


def _cells(low: Tensor, high: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The cells along one side that intervals touch.

    Args:
        low: (n, K), begin of each interval, as a share of the side.
        high: (n, K), end of each interval.
        cells: number of cells of the side.

    Returns:
        (n, K, cells) bool, and (n, K) the number of cells, with those beyond the
        side's end.
    """
    first, last = (low * cells).floor(), (high * cells).ceil()
    cell = torch.arange(cells, device=low.device)
    inside = (cell >= first[..., None]) & (cell <= last[..., None])
    return inside, last + 1 - first
