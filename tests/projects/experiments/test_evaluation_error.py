"""The bootstrap of evaluation images, on detectors that are made up."""

import json
from pathlib import Path

import numpy as np
import pytest

from projects.experiments.evaluation_error import difference

SIDE = 20


def write(folder: Path, images: int, found: dict[str, np.ndarray]) -> list[Path]:
    """Annotations of one box in each image, of one of two classes, and for each
    detector the boxes of the images that it finds."""
    boxes = [dict(id=i + 1, image_id=i, category_id=i % 2 + 1, iscrowd=0,
                  bbox=[5., 5., SIDE, SIDE], area=SIDE**2) for i in range(images)]
    files = [folder / 'annotations.json']
    files[0].write_text(json.dumps(dict(
        info={}, images=[dict(id=i, width=40, height=40) for i in range(images)],
        categories=[dict(id=1, name='a'), dict(id=2, name='b')],
        annotations=boxes)))
    for name, hits in found.items():
        files.append(folder / f'{name}.bbox.json')
        files[-1].write_text(json.dumps([
            dict(image_id=i, category_id=i % 2 + 1, score=.9,
                 bbox=boxes[i]['bbox']) for i in np.flatnonzero(hits).tolist()]))
    return files


def test_the_error_is_that_of_the_share_of_images_found(tmp_path: Path) -> None:
    """All boxes that are there are right: mAP is the recall, to COCO's 101 points.
    One finds 60 % of the images, the other 40 % and none of those."""
    images, one = 400, np.arange(400) % 10 < 6
    files = write(tmp_path, images, dict(one=one, other=~one))
    result = difference(files[0], files[1:], 300)
    assert result['images'] == images
    assert result['difference'] == pytest.approx(20, abs=1)
    # Of ±1 in each image: the variance is 1 − 0.2².
    assert result['error'] == pytest.approx(100 * np.sqrt(.96 / images), rel=.15)
    assert result['low'] < 20 - result['error'] < 20 + result['error'] < result['high']


def test_both_are_judged_on_the_same_draws(tmp_path: Path) -> None:
    one = np.arange(40) % 3 > 0
    files = write(tmp_path, 40, dict(one=one, other=one))
    result = difference(files[0], files[1:], 20)
    assert result['difference'] == result['error'] == 0
