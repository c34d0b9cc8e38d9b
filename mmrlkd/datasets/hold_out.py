"""Part of the training images, held out for a search to score candidates on.

The validation split stays unseen until the end: what a search chooses by is
not what its result is judged by.
"""

import json
import random
from pathlib import Path

#: Names of the two files.
FIT, SCORE = 'search_train.json', 'search_val.json'


def hold_out(annotations: Path, share: float, seed: int = 0) -> list[Path]:
    """Split COCO annotations in two files, written beside them.

    Args:
        annotations: of the training images.
        share: of the images to hold out, between 0 and 1; at least one.
        seed: draws which.

    Returns:
        ``search_train.json``, to train candidates on, and
        ``search_val.json``, to score them.

    Raises:
        ValueError: not a share, or a single image.
    """
    content = json.loads(annotations.read_text())
    images = content['images']
    if not (0 < share < 1 and len(images) > 1):
        raise ValueError(
            f'share={share} of {len(images)} images; accepted: a number '
            'between 0 and 1, of two images or more.')
    held = min(max(round(share * len(images)), 1), len(images) - 1)
    drawn = {image['id'] for image in random.Random(seed).sample(images, held)}
    paths = []
    for name, part in ((FIT, {i['id'] for i in images} - drawn),
                       (SCORE, drawn)):
        path = annotations.with_name(name)
        unfinished = path.with_suffix('.partial')
        unfinished.write_text(json.dumps(dict(
            content,
            images=[i for i in images if i['id'] in part],
            annotations=[a for a in content['annotations']
                         if a['image_id'] in part])) + '\n')
        paths.append(unfinished.replace(path))
    return paths
