"""Segmentors: the image's mean intersection over union."""

from typing import Any

import torch

from mmrlkd.arguments import check_integer
from mmrlkd.registry import QUALITIES

from .base import Quality, Score, refuse_unannotated


@QUALITIES.register_module()
class ImageIoU(Quality):
    """Mean intersection over union within the image, over the classes of its
    label map.

    A fine-grained mIoU, see Wang et al. 2023, "Revisiting evaluation metrics for
    semantic segmentation", https://arxiv.org/abs/2310.19252. A class that is only
    predicted has no term, but the pixels that it took count as missed. An image
    without any labelled pixel has 1.

    Args:
        ignore_index: label of pixels that are not compared.
    """

    name = "mean IoU over the image's classes"

    def __init__(self, ignore_index: int = 255) -> None:
        self.ignore_index = check_integer(
            type(self).__name__, 'ignore_index', ignore_index)

    def __call__(self, sample: Any) -> Score:
        labels = self._labels(sample)
        predicted = sample.pred_sem_seg.data.flatten().to(labels)
        compared = labels != self.ignore_index
        labels, predicted = labels[compared], predicted[compared]
        if not len(labels):
            return Score(1.0)
        count = int(torch.maximum(labels.max(), predicted.max())) + 1
        true, found = labels.bincount(minlength=count), predicted.bincount(
            minlength=count)
        both = labels[labels == predicted].bincount(minlength=count)
        iou = both / (true + found - both).clamp_min(1)
        return Score(float(iou[true > 0].mean()))

    def difficulty(self, sample: Any) -> str | None:
        """Number of classes in the label map."""
        labels = self._labels(sample)
        return str(len(labels[labels != self.ignore_index].unique()))

    def _labels(self, sample: Any) -> torch.Tensor:
        if 'gt_sem_seg' not in sample:
            raise refuse_unannotated(self, 'gt_sem_seg')
        return sample.gt_sem_seg.data.flatten().long()
