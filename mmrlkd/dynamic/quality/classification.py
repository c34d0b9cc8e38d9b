"""Classifiers: is the most probable class the right one?"""

from math import log
from typing import Any

import torch

from mmrlkd.registry import QUALITIES

from .base import Quality, Score, refuse_unannotated


@QUALITIES.register_module()
class Correctness(Quality):
    """1 where the predicted class is the annotated one, 0 elsewhere."""

    name = 'top-1 correctness'

    def __call__(self, sample: Any) -> Score:
        if 'gt_label' not in sample or len(sample.gt_label) != 1:
            raise refuse_unannotated(self, 'gt_label of one class')
        label = int(sample.gt_label)
        score = sample.pred_score
        probability = max(float(score[label]), torch.finfo(score.dtype).tiny)
        return Score(float(int(sample.pred_label) == label), log(probability))

    def difficulty(self, sample: Any) -> str | None:
        return None
