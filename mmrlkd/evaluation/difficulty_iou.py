"""IoU, overall and for images of each difficulty."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmseg.evaluation import IoUMetric

from mmrlkd.registry import METRICS

from .difficulty_metric import image_strata


@METRICS.register_module()
class DifficultyIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric``, with the mIoU of each stratum of images.

    Adds ``mIoU_1-3``, …, ``mIoU_>10`` and ``mIoU_dense_small``, in per cent as
    the others; each equals ``IoUMetric`` on those images alone.

    Args:
        ann_file: COCO annotation file that knows the images by the ``img_id``
            of their samples.
        strata: keys of image records that group images, see
            :func:`~mmrlkd.evaluation.difficulty_metric.image_strata`.
        **kwargs: as ``IoUMetric``.
    """

    def __init__(self, ann_file: str,
                 strata: Sequence[str] = ('difficulty', 'dense_small'),
                 **kwargs) -> None:
        super().__init__(**kwargs)
        with contextlib.redirect_stdout(io.StringIO()):
            self.strata = image_strata(COCO(ann_file), strata)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the areas of each image with its id.

        Args:
            data_batch: not looked at.
            data_samples: predictions with their ground truth.
        """
        before = len(self.results)
        super().process(data_batch, data_samples)
        self.results[before:] = [
            (sample['img_id'], areas) for sample, areas in zip(
                data_samples, self.results[before:], strict=True)]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics of ``IoUMetric`` and those of the strata.

        Args:
            results: id and areas of each image.

        Returns:
            Metrics by name, in per cent.
        """
        areas: dict[int, Any] = dict(results)
        metrics = super().compute_metrics(list(areas.values()))
        for name, ids in self.strata.items():
            some = [areas[i] for i in ids if i in areas]
            if some:
                metrics[f'mIoU_{name}'] = self._mean_iou(some)
        return metrics

    def _mean_iou(self, some: list) -> float:
        totals = [sum(each) for each in zip(*some, strict=True)]
        iou = self.total_area_to_metrics(
            *totals, ['mIoU'], self.nan_to_num, self.beta)['IoU']
        return round(float(np.nanmean(iou)) * 100, 2)
