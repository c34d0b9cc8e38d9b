"""Detectors: what localisation, false and missed boxes leave of an image."""

from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import QUALITIES

from .base import Quality, Score, refuse_unannotated


@QUALITIES.register_module()
class OneMinusLRP(Quality):
    """1 − LRP of the boxes of one image.

    The localisation recall precision error (Oksuz et al. 2018,
    https://arxiv.org/abs/1807.01696, eq. 3; Oksuz et al. 2021,
    https://arxiv.org/abs/2011.10772)

        LRP = (Σ_TP (1 − IoU) / (1 − τ) + N_FP + N_FN) / (N_TP + N_FP + N_FN)

    is defined for the boxes above a confidence, so unlike an average precision it
    is defined for a single image. Boxes are matched as in COCO's evaluation: in
    the order of their scores, each to the free object of its class that it
    overlaps most. Boxes on a region that annotations exclude (``iscrowd``) are
    not counted. An image without objects has 1 if there are no boxes, else 0.

    Args:
        score_thr: the confidence.
        iou_thr: τ, the overlap from which on a box is of an object.
    """

    name = '1 - LRP'

    def __init__(self, score_thr: float = 0.3, iou_thr: float = 0.5) -> None:
        owner = type(self).__name__
        self.score_thr = check_number(owner, 'score_thr', score_thr, 0, 1)
        self.iou_thr = check_number(owner, 'iou_thr', iou_thr, 0, 1, open='high')

    def __call__(self, sample: Any) -> Score:
        from mmdet.structures.bbox import bbox_overlaps
        truth = self._truth(sample)
        found = sample.pred_instances
        found = found[found.scores >= self.score_thr]
        found = found[found.scores.argsort(descending=True, stable=True)]
        boxes, objects = _corners(found), _corners(truth).to(found.bboxes)
        ious = bbox_overlaps(boxes, objects)  # (k, n)
        same_class = found.labels[:, None] == truth.labels.to(found.labels)
        matched, free = self._match(ious.where(same_class, ious.new_tensor(-1.)))
        ignored = sample.get('ignored_instances')
        if ignored is not None and len(ignored) and len(found):
            inside = bbox_overlaps(
                boxes, _corners(ignored).to(boxes), mode='iof').amax(dim=1)
            unmatched_inside = (matched < 0) & (inside >= self.iou_thr)
            matched = matched[~unmatched_inside]
        hits = matched[matched >= 0]
        total = len(matched) + int(free.sum())
        if not total:
            return Score(1.0)
        quality = 1 - (1 - hits) / (1 - self.iou_thr)
        return Score(float(quality.sum()) / total)

    def _match(self, ious: Tensor) -> tuple[Tensor, Tensor]:
        """For each box its overlap with the object it is of, −1 without; and
        which objects stay free."""
        count, objects = ious.shape
        matched, free = ious.new_full((count, ), -1.), torch.ones(
            objects, dtype=torch.bool, device=ious.device)
        for i in range(count if objects else 0):
            iou, best = ious[i].where(free, ious.new_tensor(-1.)).max(dim=0)
            if iou >= self.iou_thr:
                matched[i], free[best] = iou, False
        return matched, free

    def difficulty(self, sample: Any) -> str | None:
        """Number of objects."""
        return str(len(self._truth(sample)))

    def _truth(self, sample: Any) -> Any:
        if 'gt_instances' not in sample:
            raise refuse_unannotated(self, 'gt_instances')
        return sample.gt_instances


def _corners(instances: Any) -> Tensor:
    """(k, 4) x1 y1 x2 y2; mmdet wraps annotated boxes in HorizontalBoxes."""
    return getattr(instances.bboxes, 'tensor', instances.bboxes)
