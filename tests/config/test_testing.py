"""Test-time augmentation and pictures, in each library."""

import numpy as np
import pytest
from mmcv import imwrite
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope

from mmrlkd.config.testing import augment, draw_into

STEPS = {
    'mmdet': [dict(type='Resize', scale=(8, 8)),
              dict(type='LoadAnnotations', with_bbox=True),
              dict(type='PackDetInputs')],
    'mmseg': [dict(type='Resize', scale=(8, 8)), dict(type='LoadAnnotations'),
              dict(type='PackSegInputs')],
    'mmpretrain': [dict(type='Resize', scale=(8, 8)), dict(type='PackInputs')],
}
TTA = dict(mmdet='DetTTAModel', mmseg='SegTTAModel',
           mmpretrain='AverageClsScoreTTA')


@pytest.fixture
def image(tmp_path):
    """A record of a data set: its left half is black, its right half white."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    path = str(tmp_path / 'a.png')
    imwrite(picture, path)
    imwrite(np.zeros((8, 8), np.uint8), str(tmp_path / 'b.png'))
    return dict(
        img_path=path, img_id=0, height=8, width=8, gt_label=0, seg_fields=[],
        seg_map_path=str(tmp_path / 'b.png'), reduce_zero_label=False,
        label_map=None, instances=[
            dict(bbox=[0, 0, 4, 8], bbox_label=0, ignore_flag=0)])


def config(scope):
    return Config(dict(
        default_scope=scope, model=dict(type='Plain'), default_hooks=dict(),
        visualizer=dict(), test_dataloader=dict(dataset=dict(
            type='RepeatDataset', dataset=dict(pipeline=[
                dict(type='LoadImageFromFile'), *STEPS[scope]])))))


@pytest.mark.parametrize('scope', STEPS)
def test_an_image_and_its_mirror_image_are_tested(scope, image):
    pytest.importorskip(scope)
    init_default_scope(scope)
    cfg = config(scope)
    augment(cfg)
    assert cfg.model == dict(cfg.model, type=TTA[scope], module=dict(type='Plain'))
    with MODELS.switch_scope_and_registry(scope) as models:
        assert models.get(TTA[scope]) is not None
    views = Compose(cfg.test_dataloader.dataset.dataset.pipeline)(image)
    mirrored, plain = views['inputs']
    assert mirrored[0, 0].tolist() == [255] * 4 + [0] * 4
    assert plain[0, 0].tolist() == [0] * 4 + [255] * 4
    if scope == 'mmdet':  # annotations stay those of the image as it is
        assert [sample.flip for sample in views['data_samples']] == [True, False]
        for sample in views['data_samples']:
            assert sample.gt_instances.bboxes.tensor.tolist() == [[0, 0, 4, 8]]


def test_a_configs_own_augmentation_is_taken():
    cfg = config('mmdet')
    cfg.tta_model = dict(type='Mine', tta_cfg=dict(a=1))
    cfg.tta_pipeline = [dict(type='Mine')]
    augment(cfg)
    assert cfg.model == dict(
        type='Mine', tta_cfg=dict(a=1), module=dict(type='Plain'))
    assert cfg.test_dataloader.dataset.dataset.pipeline == [dict(type='Mine')]


def test_masks_which_no_library_merges_are_refused_before_the_test():
    cfg = config('mmdet')
    cfg.model.roi_head = dict(mask_head=dict(type='FCNMaskHead'))
    with pytest.raises(ValueError, match='--tta: the model has a mask_head'):
        augment(cfg)


def test_a_library_that_is_not_known_is_refused():
    cfg = config('mmdet')
    cfg.default_scope = 'mmother'
    with pytest.raises(ValueError, match='--tta: mmother has no tta_model'):
        augment(cfg)
    with pytest.raises(ValueError, match='--show-dir: the default_scope mmother'):
        draw_into('shown', cfg)
