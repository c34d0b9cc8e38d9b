"""Scenes for segmentation and classification, as the base configs read them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

import projects.scenes.detection  # noqa: F401
import projects.scenes.segmentation  # noqa: F401
from mmrlkd.registry import DATASETS

ROOT = Path(__file__).parents[3]
CLASSES = ('0', '1', '2', '3', '4')


def base_config(name: str, scenes: Path) -> Config:
    path = ROOT / f'configs/_base_/datasets/{name}.py'
    cfg = Config.fromfile(path)
    text = path.read_text().replace(f"'{cfg.data_root}'", f"'{scenes}/'")
    return Config.fromstring(text, '.py')


@pytest.fixture
def scope():
    """Enter a library's scope."""
    def enter(name: str) -> None:
        init_default_scope(name)
        assert DefaultScope.get_current_instance().scope_name == name
    return enter


@pytest.mark.parametrize(('loader', 'size'), [
    ('train_dataloader', 24), ('val_dataloader', 12)])
def test_label_maps(scenes: Path, scope, loader: str, size: int) -> None:
    scope('mmseg')
    cfg = base_config('scenes_segmentation', scenes)
    dataset = DATASETS.build(cfg[loader].dataset)
    assert len(dataset) == size
    assert dataset.metainfo['classes'] == ('background', *CLASSES)
    images = {image['id']: image['file_name'] for image in json.loads(
        Path(dataset.ann_file).read_text())['images']}
    seen = set()
    for item in dataset:
        assert item['inputs'].shape == (3, 96, 96)
        sample = item['data_samples']
        assert Path(sample.img_path).name == images[sample.img_id]
        labels = sample.gt_sem_seg.data[0].numpy()
        drawn = cv2.imread(sample.img_path.replace(
            f'{scenes}/', f'{scenes}/labels/'), cv2.IMREAD_GRAYSCALE)
        flipped = drawn[:, ::-1] if sample.get('flip') else drawn
        assert np.array_equal(labels, flipped)
        seen |= set(labels.ravel().tolist())
    assert seen == set(range(6))


def test_missing_scenes_are_told(scope, tmp_path: Path) -> None:
    scope('mmseg')
    cfg = base_config('scenes_segmentation', tmp_path)
    with pytest.raises(FileNotFoundError, match='make_scenes.py'):
        DATASETS.build(cfg.train_dataloader.dataset)


def test_single_objects(scenes: Path, scope) -> None:
    scope('mmpretrain')
    cfg = base_config('scenes_classification', scenes)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 24
    assert dataset.metainfo['classes'] == CLASSES
    for item in dataset:
        sample = item['data_samples']
        assert item['inputs'].shape == (3, 96, 96)
        assert Path(sample.img_path).parent.name == CLASSES[
            int(sample.gt_label)]


def test_masks_come_with_the_boxes(scenes: Path, scope) -> None:
    scope('mmdet')
    path = ROOT / 'configs/demo/instance_student.py'
    cfg = Config.fromfile(path)
    dataset = DATASETS.build({
        **cfg.train_dataloader.dataset, 'data_root': f'{scenes}/'})
    sample = dataset[0]['data_samples']
    assert len(sample.gt_instances.masks) == len(sample.gt_instances.bboxes)
