"""How much of a difference of two detectors is due to the images they are judged on.

The images are drawn with replacement and both detectors are judged on what was drawn,
many times: the paired bootstrap (Efron 1979, https://doi.org/10.1214/aos/1176344552).
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .statistics import CONFIDENCE


class Judged:
    """A detector's boxes on a set of images, matched to the annotated ones.

    Args:
        annotations: COCO's, of the images.
        results: COCO's, of the boxes.
    """

    def __init__(self, annotations: COCO, results: Path) -> None:
        evaluation = COCOeval(
            annotations, annotations.loadRes(str(results)), 'bbox')
        evaluation.params.areaRng = evaluation.params.areaRng[:1]  # all sizes
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.params.maxDets = evaluation.params.maxDets[-1:]
        evaluation.evaluate()
        self._evaluation = evaluation
        # (K, I): of each class and image.
        self._matches = np.array(evaluation.evalImgs, dtype=object).reshape(
            len(evaluation.params.catIds), -1)

    @property
    def images(self) -> int:
        """How many there are."""
        return self._matches.shape[1]

    def score(self, images: np.ndarray) -> float:
        """mAP in points, on the images of these indices; NaN without objects."""
        self._evaluation.evalImgs = self._matches[:, images].flatten().tolist()
        self._evaluation.accumulate()
        precision = self._evaluation.eval['precision']
        known = precision[precision > -1]
        return 100 * float(known.mean()) if known.size else np.nan


def difference(annotations: Path, results: Sequence[Path], resamples: int,
               seed: int = 0) -> dict[str, float]:
    """How far a detector is above another, and the error of the images.

    Args:
        annotations: COCO file.
        results: of the one and of the other, COCO's format for boxes.
        resamples: of the images.
        seed: of the draws.

    Returns:
        ``difference`` in points of mAP, its ``error`` (standard deviation over the
        resamples), and ``low`` and ``high`` of its 95 % interval (percentiles);
        ``images``.
    """
    rng = np.random.default_rng(seed)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        coco = COCO(str(annotations))
        one, other = (Judged(coco, each) for each in results)
        whole = np.arange(one.images)
        drawn = [one.score(images) - other.score(images) for images in (
            rng.integers(one.images, size=one.images) for _ in range(resamples))]
        found = one.score(whole) - other.score(whole)
    low, high = np.nanquantile(
        drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return dict(difference=found, error=float(np.nanstd(drawn, ddof=1)),
                low=float(low), high=float(high), images=one.images)
