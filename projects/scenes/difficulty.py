"""How hard an image is: by the number of its objects, and by their size."""

from collections.abc import Callable, Sequence

import numpy as np
from pycocotools.coco import COCO

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
