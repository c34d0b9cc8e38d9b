"""Scenes as mmseg reads them, and mIoU by difficulty."""

import contextlib
import io
import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.fileio import exists, load
from mmseg.datasets import BaseSegDataset
from mmseg.evaluation import IoUMetric
from pycocotools.coco import COCO

from mmrlkd.registry import DATASETS, METRICS

from .difficulty import image_strata


@DATASETS.register_module()
class ScenesSegDataset(BaseSegDataset):
    """Label maps of scenes, listed and named by their COCO annotation file.

    Class 0 is the background: most of each scene is, and telling where an
    object ends is as much of the task as telling what it is. The classes of
    the annotation file follow. Each image keeps its ``img_id`` there, by which
    its difficulty is known.

    Args:
        ann_file: COCO annotation file, relative to ``data_root``.
        data_root: folder of the dataset.
        **kwargs: as ``BaseSegDataset``.

    Raises:
        FileNotFoundError: if the annotation file is missing.
    """

    METAINFO: dict = {}

    def __init__(self, ann_file: str, data_root: str = '', **kwargs) -> None:
        path = osp.join(data_root, ann_file)
        if not exists(path):
            raise FileNotFoundError(
                f'{path} does not exist; make it with `python '
                f'tools/datasets/make_scenes.py {data_root or "data/scenes"}`.')
        content = load(path)
        self._images = content['images']
        super().__init__(
            ann_file=ann_file, data_root=data_root,
            metainfo={'classes': ('background', *(
                c['name'] for c in content['categories']))}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The images of the annotation file, in its order."""
        return [
            dict(img_path=osp.join(self.data_prefix['img_path'],
                                   image['file_name']),
                 seg_map_path=osp.join(self.data_prefix['seg_map_path'],
                                       image['file_name']),
                 img_id=image['id'], label_map=self.label_map,
                 reduce_zero_label=self.reduce_zero_label, seg_fields=[])
            for image in self._images
        ]


@METRICS.register_module()
class DifficultyIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric``, with the mIoU of each stratum of images.

    Adds ``mIoU_1-3``, …, ``mIoU_>10`` and ``mIoU_dense_small``, in per cent as
    the others; each equals ``IoUMetric`` on those images alone.

    Args:
        ann_file: COCO annotation file that knows the images by the ``img_id``
            of their samples.
        strata: keys of image records that group images, see
            :func:`~projects.scenes.difficulty.image_strata`.
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
