import json
from collections import Counter
from pathlib import Path

import pytest
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset

import projects.scenes.detection  # noqa: F401
import projects.scenes.segmentation  # noqa: F401
from mmrlkd.registry import DATASETS
from projects.scenes.detection import ScenesDataset

ROOT = Path(__file__).parents[3]
CLASSES = ('0', '1', '2', '3', '4')


@pytest.fixture(scope='module')
def base_config(scenes: Path) -> Config:
    register_all_modules(init_default_scope=True)
    text = (ROOT / 'configs/_base_/datasets/scenes_detection.py').read_text()
    return Config.fromstring(
        text.replace("'data/scenes/'", f"'{scenes}/'"), '.py')


@pytest.mark.parametrize(('loader', 'size'), [
    ('train_dataloader', 24), ('val_dataloader', 12)])
def test_the_base_config_builds(
        base_config: Config, loader: str, size: int) -> None:
    dataset = DATASETS.build(base_config[loader].dataset)
    assert len(dataset) == size
    assert dataset.metainfo['classes'] == CLASSES
    annotations = json.loads(Path(dataset.ann_file).read_text())['annotations']
    boxes = Counter(a['image_id'] for a in annotations)
    for item in dataset:
        assert item['inputs'].shape == (3, 128, 128)
        sample = item['data_samples']
        assert len(sample.gt_instances) == boxes[sample.img_id] > 0


def test_masks_load(scenes: Path) -> None:
    register_all_modules(init_default_scope=True)
    dataset = ScenesDataset(
        'annotations/val.json', str(scenes), data_prefix=dict(img='val/'),
        pipeline=[dict(type='LoadImageFromFile'),
                  dict(type='LoadAnnotations', with_bbox=True, with_mask=True)])
    for item in dataset:
        boxes = item['gt_masks'].get_bboxes('hbox').tensor
        assert boxes.tolist() == item['gt_bboxes'].tensor.tolist()


def test_a_selection_of_classes(scenes: Path) -> None:
    dataset = ScenesDataset('annotations/val.json', str(scenes),
                            data_prefix=dict(img='val/'),
                            metainfo=dict(classes=('1', '3')), pipeline=[])
    labels = {i['bbox_label'] for info in map(dataset.get_data_info, range(12))
              for i in info['instances']}
    assert dataset.metainfo['classes'] == ('1', '3')
    assert labels == {0, 1}


def test_missing_data_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='make_scenes.py'):
        ScenesDataset('annotations/train.json', str(tmp_path))


def test_mmseg_reads_the_label_maps(scenes: Path) -> None:
    dataset = BaseSegDataset(
        data_root=str(scenes), img_suffix='.png', seg_map_suffix='.png',
        data_prefix=dict(img_path='train', seg_map_path='labels/train'),
        metainfo=dict(classes=CLASSES), reduce_zero_label=True,
        pipeline=[dict(type='mmseg.LoadImageFromFile'),
                  dict(type='mmseg.LoadAnnotations')])
    assert len(dataset) == 24
    labels = {int(v) for item in dataset for v in set(item['gt_seg_map'].flat)}
    assert labels == {0, 1, 2, 3, 4, 255}


@pytest.mark.parametrize(('split', 'size'), [('train', 24), ('val', 12)])
def test_mmpretrain_reads_the_folders(
        scenes: Path, split: str, size: int) -> None:
    dataset = CustomDataset(
        data_root=str(scenes / 'classification'), data_prefix=split,
        with_label=True, pipeline=[dict(type='mmpretrain.LoadImageFromFile')])
    assert dataset.CLASSES == CLASSES
    counts = Counter(item['gt_label'] for item in dataset)
    assert sum(counts.values()) == size
    assert max(counts.values()) - min(counts.values()) <= 1
