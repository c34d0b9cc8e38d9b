"""Write scenes to a folder, whole or not at all.

::

    scenes/
      train/000000.png …           scenes
      labels/train/000000.png …    0 background, k + 1 class k
      annotations/train.json       COCO: boxes, visible masks, difficulty
      annotations/search_*.json    the same, split for searches
      annotations/train_a.json …   those of one camera, where there are two
      classification/train/<class>/000000.png …   one object each
      dataset.json                 parameters, classes, counts

and likewise for ``val`` (which no search sees). Label maps follow ADE20K: with mmseg's
``reduce_zero_label=True`` the background is ignored and class k is k; without
it the background is a class of its own.
"""

import io
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import starmap
from multiprocessing import Pool
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from pycocotools import mask as coco_mask

from mmrlkd.datasets.hold_out import hold_out

from .difficulty import STRATA
from .scenes import (
    CAMERAS,
    Scene,
    SceneConfig,
    plan_cameras,
    plan_strata,
    render_scene,
    render_single,
    second_camera,
)
from .sources import SPLITS, ObjectSource, load_photos, load_source

#: Raised whenever the same parameters give other files.
VERSION = 3

#: Of the training images, for a search to score candidates on.
SEARCH_SHARE = 0.2

_FACTS = 'dataset.json'

#: What every task of a worker process shares; set when it starts.
_common: tuple = ()


def write_dataset(folder: Path, config: SceneConfig, jobs: int = 1) -> bool:
    """Write a dataset, or find that it is already there.

    Args:
        folder: where; its parent is created if need be.
        config: what; the files are a function of it alone.
        jobs: number of processes.

    Returns:
        True if it was written, False if it was already there.

    Raises:
        FileExistsError: if ``folder`` holds something else.
        SourceUnavailable: if the source cannot be had here.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if _holds(folder, config):
            return False
        raise FileExistsError(
            f'{folder} exists and holds something else than these scenes; '
            f'remove it or name another folder.')
    source = load_source(config.source, config.classes)
    partial = folder.parent / f'.{folder.name}.{os.getpid()}.partial'
    partial.mkdir(parents=True)
    try:
        _write_all(partial, config, source, jobs)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _holds(folder: Path, config: SceneConfig) -> bool:
    """Whether a finished dataset of these parameters lies in a folder."""
    try:
        facts = json.loads((folder / _FACTS).read_text())
        found = dict(facts['parameters'])
        if config.source == 'auto':
            found['source'] = 'auto'
        return (facts['version'], found) == (VERSION, config.asdict())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_all(folder: Path, config: SceneConfig, source: ObjectSource,
               jobs: int) -> None:
    tasks = []
    for split in SPLITS:
        for part in (split, f'labels/{split}', *(
                f'classification/{split}/{name}' for name in source.classes)):
            (folder / part).mkdir(parents=True)
        plan = zip(plan_strata(config, split), plan_cameras(config, split))
        tasks += [(split, index, *stratum, camera)
                  for index, (stratum, camera) in enumerate(plan)]

    print_log(f'Placing {source.name} objects on {len(tasks)} canvases.',
              'current')
    common = (folder, config, source, load_photos())
    if jobs == 1:
        records = _tracked(starmap(partial(_render, *common), tasks), len(tasks))
    else:
        # Ends OpenCV's threads: they do not survive a fork, and a child that
        # inherits a pool of them waits for ever.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            with Pool(jobs, _start_worker, common) as pool:
                records = _tracked(
                    pool.imap(_render_in_worker, tasks, chunksize=8), len(tasks))
                # Leaving the block terminates workers; one that holds the lock of
                # the queue then would leave the others waiting for it.
                pool.close()
                pool.join()
        finally:
            cv2.setNumThreads(threads)

    counts = {}
    (folder / 'annotations').mkdir()
    for split in SPLITS:
        images, annotations = zip(*(
            record for record, task in zip(records, tasks) if task[0] == split))
        counts[split] = _count(images, annotations)
        content = _coco(images, annotations, source)
        _dump(folder / 'annotations' / f'{split}.json', content)
        if config.second_camera:
            for camera in CAMERAS:
                _dump(folder / 'annotations' / f'{split}_{camera}.json',
                      _of_camera(content, camera))
    if config.train > 1:
        hold_out(folder / 'annotations/train.json', SEARCH_SHARE, config.seed)
    _dump(folder / _FACTS, {
        'version': VERSION,
        'parameters': {**config.asdict(), 'source': source.name},
        'classes': source.classes, 'counts': counts}, indent=2)


def _tracked(records: Iterable, total: int) -> list:
    """Collect records behind a progress bar, drawn on a terminal only."""
    bar = sys.stdout if sys.stdout.isatty() else io.StringIO()
    return list(track_iter_progress((records, total), file=bar))


def _start_worker(*common) -> None:
    global _common
    # A forked worker would run the handler of the program that is to end it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _common = common


def _render_in_worker(task: tuple) -> tuple[dict, list[dict]]:
    return _render(*_common, *task)


def _render(folder: Path, config: SceneConfig, source: ObjectSource,
            photos: tuple[np.ndarray, ...], split: str, index: int,
            difficulty: str, dense_small: bool,
            camera: str | None) -> tuple[dict, list[dict]]:
    """Write the files of one index; return its COCO records, without ids."""
    name = f'{index:06d}.png'
    single = render_single(config, source, photos, split, index)
    of_class = source.classes[single.objects[0].label]
    _write_png(folder / 'classification' / split / of_class / name, single.image)

    scene = render_scene(
        config, source, photos, split, index, difficulty, dense_small)
    _write_png(folder / split / name, scene.image if camera != 'b' else
               second_camera(config, scene.image, split, index))
    _write_png(folder / 'labels' / split / name, scene.label_map())
    image = dict(file_name=name, height=config.size, width=config.size,
                 difficulty=scene.difficulty, dense_small=scene.dense_small)
    if camera:
        image['camera'] = camera
    return image, _annotations(scene)


def _annotations(scene: Scene) -> list[dict]:
    """Annotate what is visible of each object."""
    annotations = []
    for i, placed in enumerate(scene.objects, start=1):
        rle = coco_mask.encode(np.asfortranarray(scene.owner == i, np.uint8))
        annotations.append(dict(
            category_id=placed.label + 1,
            bbox=coco_mask.toBbox(rle).tolist(),
            area=int(coco_mask.area(rle)), iscrowd=0,
            segmentation=dict(rle, counts=rle['counts'].decode()),
            occlusion=round(placed.occlusion, 4),
            source_index=placed.source_index))
    return annotations


def _coco(images: tuple[dict, ...], annotations: tuple[list[dict], ...],
          source: ObjectSource) -> dict:
    """Number images, objects and categories from 1, as COCO does."""
    of_image = [(i, a) for i, some in enumerate(annotations, 1) for a in some]
    return dict(
        info=dict(description=f'{source.name} objects, placed by mmrlkd'),
        images=[dict(id=i, **image) for i, image in enumerate(images, 1)],
        annotations=[dict(id=i, image_id=image_id, **annotation)
                     for i, (image_id, annotation) in enumerate(of_image, 1)],
        categories=[dict(id=i, name=name)
                    for i, name in enumerate(source.classes, 1)])


def _of_camera(content: dict, camera: str) -> dict:
    """The images that one camera took, with the ids they have among all."""
    images = [i for i in content['images'] if i['camera'] == camera]
    ids = {image['id'] for image in images}
    return dict(content, images=images, annotations=[
        a for a in content['annotations'] if a['image_id'] in ids])


def _count(images: tuple[dict, ...],
           annotations: tuple[list[dict], ...]) -> dict:
    """Count the images, the objects, and the images in each stratum."""
    strata = Counter(image['difficulty'] for image in images)
    cameras = Counter(
        image['camera'] for image in images if 'camera' in image)
    return dict(
        images=len(images), objects=sum(map(len, annotations)),
        dense_small=sum(image['dense_small'] for image in images),
        **{name: strata[name] for name in STRATA},
        **{f'camera_{name}': count for name, count in sorted(cameras.items())})


def _write_png(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f'{path} could not be written.')


def _dump(path: Path, content: dict, indent: int | None = None) -> None:
    path.write_text(json.dumps(content, indent=indent) + '\n')
