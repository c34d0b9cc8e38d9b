"""Holding out training images, on which a search scores its candidates.

A search must not score on the validation split, on which its result is reported.
"""

import json
import random
from pathlib import Path

#: Names of the two files, without suffix.
FIT, SCORE = 'search_train', 'search_val'


def hold_out(source: Path, share: float, seed: int = 0) -> list[Path]:
    """Split training images in two files, written beside ``source``.

    Args:
        source: COCO annotations (``.json``) of the images; a list of them, one
            a line; or their folder, which is listed as mmseg's and, where it
            has a folder for each class, as mmpretrain's datasets read it.
        share: of the images to hold out, between 0 and 1; at least one.
        seed: of the random choice of images.

    Returns:
        ``search_train``, to train candidates on, and ``search_val``, to score
        them: ``.json`` for COCO, otherwise ``.txt``.

    Raises:
        ValueError: ``share`` is out of range, or there is a single image.
    """
    if source.suffix == '.json':
        return _split_coco(source, share, seed)
    lines = (_listed(source) if source.is_dir() else
             source.read_text().splitlines())
    held = _draw(len(lines), share, seed)
    return [
        _write(source.with_name(f'{name}.txt'), ''.join(
            f'{line}\n' for i, line in enumerate(lines)
            if (i in held) == is_held))
        for name, is_held in ((FIT, False), (SCORE, True))
    ]


def _split_coco(source: Path, share: float, seed: int) -> list[Path]:
    content = json.loads(source.read_text())
    images = content['images']
    held = {images[i]['id'] for i in _draw(len(images), share, seed)}
    return [
        _write(source.with_name(f'{name}.json'), json.dumps(dict(
            content,
            images=[i for i in images if (i['id'] in held) == is_held],
            annotations=[a for a in content['annotations']
                         if (a['image_id'] in held) == is_held])) + '\n')
        for name, is_held in ((FIT, False), (SCORE, True))
    ]


def _listed(folder: Path) -> list[str]:
    """``class/image.jpg number`` for folders of classes, in the order of
    their names; otherwise the images' names without suffix."""
    # mmpretrain numbers classes by the sorted names of their folders.
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not classes:
        return sorted(path.stem for path in folder.iterdir())
    return [f'{name}/{image.name} {number}'
            for number, name in enumerate(classes)
            for image in sorted((folder / name).iterdir())]


def _draw(images: int, share: float, seed: int) -> set[int]:
    """Numbers of the images to hold out."""
    if not (0 < share < 1 and images > 1):
        raise ValueError(
            f'share={share} of {images} images; accepted: a number '
            'between 0 and 1, of two images or more.')
    # At least one image on each side, whatever the share.
    held = min(max(round(share * images), 1), images - 1)
    return set(random.Random(seed).sample(range(images), held))


def _write(path: Path, text: str) -> Path:
    unfinished = path.with_suffix('.partial')
    unfinished.write_text(text)
    return unfinished.replace(path)
