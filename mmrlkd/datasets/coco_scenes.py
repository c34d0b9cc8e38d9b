"""Scenes as mmdet reads them."""

import os.path as osp

from mmdet.datasets import CocoDataset
from mmengine.fileio import exists, load

from mmrlkd.registry import DATASETS


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
