"""Segmentors of mmseg."""

import sys
from typing import Any

import torch
from torch import Tensor, nn

from mmrlkd.distillation.teacher.necks import LazyFPN, LazyNeck
from mmrlkd.registry import ADAPTERS

from .base import TaskAdapter


@ADAPTERS.register_module()
class SegmentorAdapter(TaskAdapter):
    """Any encoder–decoder of mmseg, with cascades of decode heads.

    Its neck, if any, is the pyramid; otherwise its backbone's stages are. Its
    logits are those of its (last) decode head, before they are resized to the
    image.
    """

    task = 'segmentation'

    @classmethod
    def handles(cls, model: nn.Module) -> bool:
        if 'mmseg' not in sys.modules:
            return False
        from mmseg.models import EncoderDecoder
        return isinstance(model, EncoderDecoder)

    @property
    def neck(self) -> nn.Module | None:
        return self.model.neck if self.model.with_neck else None

    def lazy_neck(self, output: Any) -> LazyNeck:
        from mmseg.models import FPN
        if type(self.neck) is FPN:
            return LazyFPN(self.neck, output)
        return super().lazy_neck(output)

    @property
    def _heads(self) -> list[nn.Module]:
        head = self.model.decode_head
        return list(head) if isinstance(head, nn.ModuleList) else [head]

    @property
    def logit_layer(self) -> nn.Module | None:
        # Not the head itself: mmseg calls its forward() directly, which runs no
        # hooks.
        return getattr(self._heads[-1], 'conv_seg', None)

    @property
    def sigmoid_logits(self) -> bool:
        head = self._heads[-1]
        losses = head.loss_decode
        losses = losses if isinstance(losses, nn.ModuleList) else [losses]
        return head.out_channels == 1 or all(
            getattr(loss, 'use_sigmoid', False) for loss in losses)

    @property
    def label_classes(self) -> int:
        return self._heads[-1].num_classes

    def run_head(self, features: Any) -> None:
        first, *others = self._heads
        output = first(features)
        for head in others:
            output = head(features, output)

    def targets(self, samples: list) -> Tensor | None:
        if not all('gt_sem_seg' in sample for sample in samples):
            return None
        maps = torch.stack(
            [sample.gt_sem_seg.data.squeeze(0) for sample in samples]).long()
        return maps.masked_fill(maps == self._heads[-1].ignore_index, -1)
