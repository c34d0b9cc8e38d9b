"""Detectors of mmdet."""

import sys
from collections.abc import Sequence

from torch import Tensor, nn

from mmrlkd.distillers.necks import LazyFPN, LazyNeck
from mmrlkd.registry import ADAPTERS

from .base import TaskAdapter


@ADAPTERS.register_module()
class DetectorAdapter(TaskAdapter):
    """Any mmdet detector with a backbone; its neck, if any, is the pyramid."""

    task = 'detection'

    @classmethod
    def handles(cls, model: nn.Module) -> bool:
        if 'mmdet' not in sys.modules:
            return False
        from mmdet.models import BaseDetector
        return isinstance(model, BaseDetector) and hasattr(model, 'backbone')

    @property
    def backbone(self) -> nn.Module:
        return self.model.backbone

    @property
    def neck(self) -> nn.Module | None:
        return self.model.neck if self.model.with_neck else None

    def lazy_neck(self, stages: Sequence[Tensor]) -> LazyNeck:
        from mmdet.models import FPN
        if type(self.neck) is FPN:  # a subclass may override the forward pass
            return LazyFPN(self.neck, stages)
        return super().lazy_neck(stages)
