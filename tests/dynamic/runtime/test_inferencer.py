"""Predictions for images, each within a budget."""

import copy
import math

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmrlkd.dynamic.deployed import ControllerHeader
from mmrlkd.dynamic.inferencer import BudgetedInferencer
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.files import digest
from mmrlkd.registry import MODELS

NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
RESNET = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4,
              style='pytorch')


def classifier():
    return dict(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            data_preprocessor=dict(num_classes=3, to_rgb=True, **NORM),
            backbone=dict(RESNET, out_indices=(3, )),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=32)),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])


def segmentor():
    return dict(
        default_scope='mmseg',
        visualizer=dict(type='SegLocalVisualizer', name='test_inferencer'),
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor', bgr_to_rgb=True, pad_val=0,
                seg_pad_val=255, size_divisor=32,
                test_cfg=dict(size_divisor=32), **NORM),
            backbone=dict(RESNET, out_indices=(3, )),
            decode_head=dict(
                type='FCNHead', in_channels=32, in_index=0, channels=4,
                num_convs=1, concat_input=False, num_classes=3,
                norm_cfg=dict(type='BN'), align_corners=False),
            train_cfg=dict(), test_cfg=dict(mode='whole')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')])


@pytest.fixture(params=['mmdet', 'mmseg', 'mmpretrain'])
def made(request, tiny_student, scenes_dataset, budget, fixed_type, tmp_path):
    """An inferencer of a tiny model, by the controller's preferences."""
    if request.param == 'mmdet':
        dataset = scenes_dataset('val')
        cfg = dict(default_scope='mmdet', model=tiny_student, visualizer=dict(
            type='DetLocalVisualizer', name='test_inferencer'))
    else:
        cfg = classifier() if request.param == 'mmpretrain' else segmentor()
        dataset = dict(type='CustomDataset', pipeline=cfg.pop('pipeline'))
    cfg = Config(copy.deepcopy(dict(
        cfg, budget=budget, test_dataloader=dict(dataset=dataset))))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(copy.deepcopy(cfg.model))
    model.init_weights()
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(
        classes=('a', 'b', 'c', 'd', 'e'), palette=[[0, 0, 0]] * 5))), path)
    parts = BudgetParts.build(model, budget)
    header = ControllerHeader(
        knobs=parts.space.header(), feature_dim=12, context_dim=0,
        overhead_ms=0.5, budgets=(2, 20), model=digest(path),
        feature=parts.feature.describe(), image_size=(64, 64))

    def build(*preferred, **options):
        return BudgetedInferencer(
            cfg, path, fixed_type(header, list(preferred)), device='cpu',
            **{'drift': 'ignore', **options})

    return build


@pytest.fixture
def images():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(3)]


def assert_equal(mine, theirs):
    """Predictions of any library."""
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert_equal(mine[key], theirs[key])
    else:
        np.testing.assert_array_equal(np.array(mine), np.array(theirs))


def test_each_image_within_its_budget(made, images, tmp_path):
    infer = made(3, 2, 1, 0)
    result = infer(images, budget_ms=[math.inf, 8.1, 3.6], batch_size=2)
    assert len(result['predictions']) == 3 and result['visualization'] == []
    assert [each['setting'] for each in result['decisions']] == [3, 2, 0]
    assert result['decisions'][2]['values'] == dict(scale=0.5, blocks='1-1-1-1')
    # An image in a file, alone: the same as in the batch.
    cv2.imwrite(str(tmp_path / 'image.png'), images[1])
    alone = infer(str(tmp_path / 'image.png'), budget_ms=8.1)
    assert_equal(alone['predictions'][0], result['predictions'][1])
    assert alone['decisions'] == result['decisions'][1:2]


def test_the_full_setting_is_the_librarys_own_inferencer(made, images):
    infer = made(3)
    library = infer.library
    plain = type(library).__mro__[1].forward
    expected = library(images[:2], run=lambda data: plain(library, data))
    if isinstance(expected, dict):
        expected = expected['predictions']
    result = infer(images[:2], budget_ms=math.inf)
    for mine, theirs in zip(result['predictions'], expected, strict=True):
        assert_equal(mine, theirs)
    samples = infer(images[0], budget_ms=math.inf, return_datasamples=True)
    assert len(samples['predictions']) == 1


@pytest.mark.parametrize('budget_ms, sentence', [
    (0, r'budget_ms=0.0; accepted: numbers >= 3, the ms'),
    (-5, 'budget_ms=-5.0; accepted'), (math.nan, 'budget_ms=nan; accepted'),
    (2.9, 'cheapest setting'), ('fast', "budget_ms='fast'; accepted: a number"),
    ([5.0, 5.0], 'a number of ms, or one for each of 3 images'),
])
@pytest.mark.parametrize('made', ['mmpretrain'], indirect=True)
def test_bad_budgets_are_sentences(made, images, budget_ms, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(3)(images, budget_ms=budget_ms)


@pytest.mark.parametrize('made', ['mmpretrain'], indirect=True)
def test_latencies_of_this_machine_are_used(made, images):
    """The controller's predictions are of no machine: 2 to 8 ms."""
    infer = made(3, drift='rescale')
    assert infer.controller.time_scale != 1
    assert infer.controller.overhead_ms >= 0.5
    infer(images[0], budget_ms=math.inf)
    with pytest.raises(ValueError, match="drift='no'; accepted"):
        made(3, drift='no')
