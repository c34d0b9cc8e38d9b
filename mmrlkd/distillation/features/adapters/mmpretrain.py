"""Image classifiers of mmpretrain."""

import sys
from typing import Any

import torch
from torch import Tensor, nn

from mmrlkd.registry import ADAPTERS

from .base import TaskAdapter


@ADAPTERS.register_module()
class ClassifierAdapter(TaskAdapter):
    """Any image classifier of mmpretrain whose backbone has stages.

    The stages are the pyramid; the neck is not, because it pools the last one.
    An image with several mixed labels has the one of the largest weight as its
    target.
    """

    task = 'classification'

    @classmethod
    def handles(cls, model: nn.Module) -> bool:
        if 'mmpretrain' not in sys.modules:
            return False
        from mmpretrain.models import ImageClassifier
        return isinstance(model, ImageClassifier)

    @property
    def neck(self) -> nn.Module | None:
        return None

    @property
    def logit_layer(self) -> nn.Module | None:
        return self.model.head if self.model.with_head else None

    @property
    def sigmoid_logits(self) -> bool:
        from mmpretrain.models import MultiLabelClsHead
        return isinstance(self.logit_layer, MultiLabelClsHead)

    def run_head(self, features: Any) -> None:
        if self.model.with_neck:
            features = self.model.neck(features)
        self.model.head(features)

    def targets(self, samples: list) -> Tensor | None:
        # Mixup and CutMix replace labels by scores.
        if all('gt_score' in sample for sample in samples):
            return torch.stack(
                [sample.gt_score for sample in samples]).argmax(dim=1)
        if all('gt_label' in sample and len(sample.gt_label) == 1
               for sample in samples):
            return torch.cat([sample.gt_label for sample in samples]).long()
        return None
