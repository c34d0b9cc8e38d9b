"""Detectors of mmdet."""

import sys
from typing import Any

from torch import Tensor, nn

from mmrlkd.distillation.teacher.necks import LazyFPN, LazyNeck
from mmrlkd.registry import ADAPTERS

from .base import TaskAdapter


@ADAPTERS.register_module()
class DetectorAdapter(TaskAdapter):
    """Any detector of mmdet with a backbone. Its neck, if any, is the pyramid."""

    task = 'detection'
    has_boxes = True

    @classmethod
    def handles(cls, model: nn.Module) -> bool:
        if 'mmdet' not in sys.modules:
            return False
        from mmdet.models import BaseDetector
        return isinstance(model, BaseDetector) and hasattr(model, 'backbone')

    @property
    def neck(self) -> nn.Module | None:
        return self.model.neck if self.model.with_neck else None

    def lazy_neck(self, output: Any) -> LazyNeck:
        from mmdet.models import FPN
        if type(self.neck) is FPN:  # a subclass may override the forward pass
            return LazyFPN(self.neck, output)
        return super().lazy_neck(output)

    def boxes(self, samples: list) -> list[Tensor] | None:
        if not all('gt_instances' in sample for sample in samples):
            return None
        boxes = [sample.gt_instances.bboxes for sample in samples]
        # mmdet 3 wraps boxes in HorizontalBoxes.
        return [getattr(each, 'tensor', each) for each in boxes]
