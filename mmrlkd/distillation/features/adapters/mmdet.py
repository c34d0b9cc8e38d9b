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

    @property
    def dense_head(self) -> nn.Module | None:
        """That of a one-stage detector; of a two-stage one its RPN, whose one
        class says whether there is an object. None for heads that take
        queries, put out corners or keep classes and boxes in one map."""
        from mmdet.models import TOODHead
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
        for name in ('bbox_head', 'rpn_head'):
            head = getattr(self.model, name, None)
            # TOOD puts out probabilities where others have logits.
            if (isinstance(head, BaseDenseHead)
                    and not isinstance(head, TOODHead)
                    and isinstance(getattr(head, 'cls_out_channels', None), int)):
                return head
        return None

    def score_logits(self, features: Any) -> list[Tensor]:
        head = self.dense_head
        assert head is not None
        return [logits.float().unflatten(1, (-1, head.cls_out_channels))
                for logits in head(features)[0]]

    def score_maps(self, logits: list[Tensor]) -> list[Tensor]:
        head = self.dense_head
        assert head is not None
        if head.use_sigmoid_cls:
            return [each.sigmoid() for each in logits]
        # The last class of a softmax is the background.
        return [each.softmax(dim=2)[:, :, :-1] for each in logits]

    def boxes(self, samples: list) -> list[Tensor] | None:
        if not all('gt_instances' in sample for sample in samples):
            return None
        boxes = [sample.gt_instances.bboxes for sample in samples]
        # mmdet 3 wraps boxes in HorizontalBoxes.
        return [getattr(each, 'tensor', each) for each in boxes]
