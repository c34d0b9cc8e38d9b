"""COCO metrics, overall and for images of each difficulty."""

import contextlib
import io
import os.path as osp
import tempfile
from collections.abc import Callable, Sequence

from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load

from mmrlkd.datasets.difficulty import count_stratum, is_dense_small
from mmrlkd.registry import METRICS

#: Keys that can be told from the annotations of an image that lacks them:
#: functions of the objects' areas and the image's area, in pixels.
_DERIVED: dict[str, Callable[[list[float], float], str | bool | None]] = {
    'difficulty': lambda areas, _: count_stratum(len(areas)) if areas else None,
    'dense_small': is_dense_small,
}


def image_strata(coco: COCO, keys: Sequence[str]) -> dict[str, list[int]]:
    """Group the images of an annotation file.

    Args:
        coco: the annotation file.
        keys: keys of its image records. A string value names the image's
            stratum; ``True`` puts it in a stratum named as the key. Where no
            record has the key, ``difficulty`` and ``dense_small`` are derived
            from the annotations that are not crowds.

    Returns:
        Image ids of each stratum, none empty, sorted by name.

    Raises:
        ValueError: if a key is missing and cannot be derived.
    """
    strata: dict[str, list[int]] = {}
    for key in keys:
        lacking = sum(key not in image for image in coco.imgs.values())
        derive = lacking == len(coco.imgs) and key in _DERIVED
        if lacking and not derive:
            raise ValueError(
                f'strata={list(keys)}: {lacking} of the {len(coco.imgs)} image '
                f'records in the annotation file lack the key {key!r}; only '
                f'{" and ".join(_DERIVED)} can be derived, and only where no '
                f'record has them.')
        for image_id, image in coco.imgs.items():
            if derive:
                areas = [a['area'] for a in coco.imgToAnns[image_id]
                         if not a.get('iscrowd')]
                value = _DERIVED[key](areas, image['height'] * image['width'])
            else:
                value = image[key]
            if value is not None and value is not False:
                name = key if value is True else str(value)
                strata.setdefault(name, []).append(image_id)
    return dict(sorted(strata.items()))


@METRICS.register_module()
class DifficultyCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric``, with the mAP of each stratum of images.

    Adds ``bbox_mAP_1-3``, …, ``bbox_mAP_>10`` and ``bbox_mAP_dense_small``
    (and ``segm_…``) to its metrics; a stratum without images or objects is
    left out. Each equals ``CocoMetric`` on an annotation file of those images
    alone. Evaluating them costs about as much again as the whole.

    Args:
        strata: keys of image records that group images, see
            :func:`image_strata`.
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
            for name, image_ids in strata.items():
                value = self._mean_ap(detected, kind, image_ids)
                if value >= 0:  # COCOeval's -1: no objects
                    metrics[f'{kind}_mAP_{name}'] = value
        return metrics

    def _mean_ap(self, detected: COCO, kind: str,
                 image_ids: list[int]) -> float:
        """MAP on some images, to three places; -1 where no object is."""
        evaluation = COCOeval(self._coco_api, detected, kind)
        evaluation.params.imgIds = image_ids
        evaluation.params.catIds = self.cat_ids
        evaluation.params.maxDets = list(self.proposal_nums)
        evaluation.params.iouThrs = self.iou_thrs
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return round(float(evaluation.stats[0]), 3)
