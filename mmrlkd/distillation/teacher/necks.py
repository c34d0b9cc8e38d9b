"""Necks that compute single outputs, for some samples only."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmrlkd.distillation.features.maps import as_maps


def take(maps: Tensor, index: Tensor | None) -> Tensor:
    """Rows ``index`` of a batch; for None the batch itself."""
    # Not maps[index], whose backward pass sorts the index before adding rows.
    return maps if index is None else maps.index_select(0, index)


class LazyNeck(ABC):
    """A neck's outputs of one batch, by output and samples.

    Args:
        neck: the teacher's neck.
        stages: the backbone's output of the batch.
    """

    def __init__(self, neck: nn.Module, stages: Any) -> None:
        self.neck = neck
        self.stages = stages

    @abstractmethod
    def output(self, i: int, index: Tensor | None) -> Tensor:
        """(n, C, h, w): output ``i`` of the samples ``index``; None for all."""

    @abstractmethod
    def prepare(self, i: int) -> None:
        """Compute the part of output ``i`` that it shares with others."""

    @abstractmethod
    def all(self) -> Any:
        """All outputs of the batch, as the neck's own forward returns them."""


class EagerNeck(LazyNeck):
    """Any neck; the first request computes all outputs of the batch."""

    @cached_property
    def _outputs(self) -> Any:
        return self.neck(self.stages)

    def prepare(self, i: int) -> None:
        _ = self._outputs

    def all(self) -> Any:
        return self._outputs

    def output(self, i: int, index: Tensor | None) -> Tensor:
        return take(as_maps(self._outputs)[i], index)


class LazyFPN(LazyNeck):
    """The FPN of mmdet or mmseg, with its 3×3 output convolutions on request.

    An output needs the lateral maps of its level and all coarser ones; they are
    merged for the whole batch at the first request. The output convolution,
    which is most of the neck's work, runs on the requested samples only. Follows
    ``mmdet.models.FPN.forward`` line by line.
    """

    def __init__(self, neck: nn.Module, stages: Sequence[Tensor]) -> None:
        super().__init__(neck, stages)
        self._merged: dict[int, Tensor] = {}
        self._whole: dict[int, Tensor] = {}

    def merged(self, i: int) -> Tensor:
        """Lateral map ``i`` after the top-down path, for the whole batch."""
        if i not in self._merged:
            neck = self.neck
            lateral = neck.lateral_convs[i](self.stages[i + neck.start_level])
            if i + 1 < len(neck.lateral_convs):  # not the coarsest
                size = ({} if 'scale_factor' in neck.upsample_cfg else
                        dict(size=lateral.shape[2:]))
                lateral = lateral + F.interpolate(
                    self.merged(i + 1), **size, **neck.upsample_cfg)
            self._merged[i] = lateral
        return self._merged[i]

    def prepare(self, i: int) -> None:
        self.merged(min(i, len(self.neck.lateral_convs) - 1))

    def output(self, i: int, index: Tensor | None) -> Tensor:
        if i not in self._whole:
            maps = self._compute(i, index)
            if index is not None:
                return maps
            self._whole[i] = maps
        return take(self._whole[i], index)

    def all(self) -> tuple[Tensor, ...]:
        return tuple(self.output(i, None) for i in range(self.neck.num_outs))

    def _compute(self, i: int, index: Tensor | None) -> Tensor:
        neck = self.neck
        laterals = len(neck.lateral_convs)
        # Outputs beyond the laterals are the extra levels, such as P6 and P7.
        if i < laterals:
            return neck.fpn_convs[i](take(self.merged(i), index))
        if not neck.add_extra_convs:  # Faster R-CNN's P6
            return F.max_pool2d(self.output(i - 1, index), 1, stride=2)
        if i > laterals:  # each from the one before it
            below = self.output(i - 1, index)
            if neck.relu_before_extra_convs:
                below = F.relu(below)
            return neck.fpn_convs[i](below)
        if neck.add_extra_convs == 'on_input':
            source = take(self.stages[neck.backbone_end_level - 1], index)
        elif neck.add_extra_convs == 'on_lateral':
            source = take(self.merged(laterals - 1), index)
        else:
            source = self.output(laterals - 1, index)
        return neck.fpn_convs[i](source)
