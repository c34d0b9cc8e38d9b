"""Scenes as mmdet reads them, and mAP by difficulty."""

import contextlib
import copy
import io
import os.path as osp
import tempfile
from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import exists, load

from mmrlkd.registry import DATASETS, METRICS

from .difficulty import image_strata


@DATASETS.register_module()
class ScenesDataset(CocoDataset):
    """A COCO dataset whose classes are those of its annotation file.

    Scenes of garments and of digits name different classes; one config reads
    both. ``CocoDataset`` would find none of its own 80 names and yield an
    empty dataset without a word.

    Args:
        ann_file: annotation file, relative to ``data_root``.
        data_root: folder of the dataset.
        metainfo: added to the classes; may name a selection of them.
        **kwargs: as ``CocoDataset``.

    Raises:
        FileNotFoundError: if the annotation file is missing.
    """

    METAINFO: dict = {}

    def __init__(self, ann_file: str, data_root: str = '',
                 metainfo: dict | None = None, **kwargs) -> None:
        path = osp.join(data_root, ann_file)
        if not exists(path):
            raise FileNotFoundError(
                f'{path} does not exist; make it with `python '
                f'tools/datasets/make_scenes.py {data_root or "data/scenes"}`.')
        classes = tuple(c['name'] for c in load(path)['categories'])
        super().__init__(
            ann_file=ann_file, data_root=data_root,
            metainfo={'classes': classes, **(metainfo or {})}, **kwargs)


@METRICS.register_module()
class DifficultyCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric``, with the mAP of each stratum of images.

    Adds ``bbox_mAP_1-3``, …, ``bbox_mAP_>10`` and ``bbox_mAP_dense_small``
    (and ``segm_…``) to its metrics; a stratum without images or objects is
    left out. Each equals ``CocoMetric`` on an annotation file of those images
    alone. The images are matched once for all strata.

    Args:
        strata: keys of image records that group images, see
            :func:`~projects.scenes.difficulty.image_strata`.
        **kwargs: as ``CocoMetric``.
    """

    def __init__(self, *args,
                 strata: Sequence[str] = ('difficulty', 'dense_small'),
                 **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.strata = tuple(strata)
        if self._coco_api is not None:
            image_strata(self._coco_api, self.strata)  # errors come early

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics of ``CocoMetric`` and those of the strata.

        Args:
            results: pairs of ground truth and prediction, one an image.

        Returns:
            Metrics by name; mAP lies in [0, 1].
        """
        metrics = super().compute_metrics(results)
        kinds = [kind for kind in self.metrics if kind in ('bbox', 'segm')]
        if self.format_only or not kinds:
            return metrics
        strata = image_strata(self._coco_api, self.strata)
        with tempfile.TemporaryDirectory() as folder:
            files = self.results2json(
                [prediction for _, prediction in results],
                osp.join(folder, 'results'))
            predictions = {kind: load(files[kind]) for kind in kinds}
        for kind, some in predictions.items():
            if not some:  # CocoMetric has said so
                continue
            if kind == 'segm':
                for prediction in some:
                    prediction.pop('bbox')  # as CocoMetric: areas are masks'
            with contextlib.redirect_stdout(io.StringIO()):
                detected = self._coco_api.loadRes(some)
            evaluation = self._match(detected, kind)
            for name, image_ids in strata.items():
                value = _mean_ap(evaluation, image_ids)
                if value >= 0:  # COCOeval's -1: no objects
                    metrics[f'{kind}_mAP_{name}'] = value
        return metrics

    def _match(self, detected: COCO, kind: str) -> COCOeval:
        """Detections matched with objects on every image, of all sizes; what
        is matched on an image does not depend on the others."""
        evaluation = COCOeval(self._coco_api, detected, kind)
        params = evaluation.params
        params.imgIds = sorted(self._coco_api.getImgIds())
        params.catIds = self.cat_ids
        params.maxDets = list(self.proposal_nums)
        params.iouThrs = self.iou_thrs
        params.areaRng, params.areaRngLbl = params.areaRng[:1], ['all']
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
        return evaluation


def _mean_ap(matched: COCOeval, image_ids: list[int]) -> float:
    """MAP on some images, to three places; -1 where no object is.

    Args:
        matched: evaluated on all images, of all sizes of objects alone.
        image_ids: the images.
    """
    params, chosen = matched.params, {*image_ids}
    images = len(params.imgIds)
    some = copy.copy(matched)
    # One entry for each category and image, in this order.
    some.evalImgs = [entry for i, entry in enumerate(matched.evalImgs)
                     if params.imgIds[i % images] in chosen]
    some.params = copy.copy(params)
    some.params.imgIds = [i for i in params.imgIds if i in chosen]
    some._paramsEval = some.params
    with contextlib.redirect_stdout(io.StringIO()):
        some.accumulate()
        some.summarize()
    return round(float(some.stats[0]), 3)
