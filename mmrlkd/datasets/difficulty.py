"""How hard an image is: by the number of its objects, and by their size."""

from collections.abc import Sequence

import numpy as np

#: Strata by object count, with the counts that belong to each; a count above
#: them all belongs to ``'>10'``.
COUNT_STRATA = {'1-3': (1, 3), '4-7': (4, 7), '8-10': (8, 10)}
MANY = '>10'
STRATA = (*COUNT_STRATA, MANY)

#: An image is dense from this many objects on, and an object is small below
#: this share of its image. Relative, so that resizing changes no stratum.
DENSE_COUNT = 8
SMALL_AREA = 0.01


def count_stratum(count: int) -> str:
    """Name the stratum of an image with ``count`` objects, at least one."""
    for name, (_, most) in COUNT_STRATA.items():
        if count <= most:
            return name
    return MANY


def is_dense_small(areas: Sequence[float], image_area: float) -> bool:
    """Tell whether an image is crowded with small objects.

    Args:
        areas: visible area of each object, in pixels (COCO's ``area``).
        image_area: width times height, in pixels.

    Returns:
        True for at least ``DENSE_COUNT`` objects of which the median covers
        less than ``SMALL_AREA`` of the image.
    """
    return (len(areas) >= DENSE_COUNT
            and float(np.median(areas)) < SMALL_AREA * image_area)
