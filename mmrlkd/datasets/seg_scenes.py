"""Scenes as mmseg reads them."""

import os.path as osp

from mmengine.fileio import exists, load
from mmseg.datasets import BaseSegDataset

from mmrlkd.registry import DATASETS


@DATASETS.register_module()
class ScenesSegDataset(BaseSegDataset):
    """Label maps of scenes, listed and named by their COCO annotation file.

    Class 0 is the background: most of each scene is, and telling where an
    object ends is as much of the task as telling what it is. The classes of
    the annotation file follow. Each image keeps its ``img_id`` there, by which
    its difficulty is known.

    Args:
        ann_file: COCO annotation file, relative to ``data_root``.
        data_root: folder of the dataset.
        **kwargs: as ``BaseSegDataset``.

    Raises:
        FileNotFoundError: if the annotation file is missing.
    """

    METAINFO: dict = {}

    def __init__(self, ann_file: str, data_root: str = '', **kwargs) -> None:
        path = osp.join(data_root, ann_file)
        if not exists(path):
            raise FileNotFoundError(
                f'{path} does not exist; make it with `python '
                f'tools/datasets/make_scenes.py {data_root or "data/scenes"}`.')
        content = load(path)
        self._images = content['images']
        super().__init__(
            ann_file=ann_file, data_root=data_root,
            metainfo={'classes': ('background', *(
                c['name'] for c in content['categories']))}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The images of the annotation file, in its order."""
        return [
            dict(img_path=osp.join(self.data_prefix['img_path'],
                                   image['file_name']),
                 seg_map_path=osp.join(self.data_prefix['seg_map_path'],
                                       image['file_name']),
                 img_id=image['id'], label_map=self.label_map,
                 reduce_zero_label=self.reduce_zero_label, seg_fields=[])
            for image in self._images
        ]
