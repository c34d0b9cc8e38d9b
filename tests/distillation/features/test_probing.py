"""The image that models are probed with."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmrlkd.config.pair import pair_model
from mmrlkd.distillation.features.adapters import adapt
from mmrlkd.distillation.teacher.online import read_model_config
from mmrlkd.registry import MODELS


def adapter_of(config):
    torch.manual_seed(0)
    init_default_scope(config.partition('::')[0])
    return adapt(MODELS.build(read_model_config(config)), 'student')


def described(levels):
    return [(level.name, level.path, level.channels, level.size[0])
            for level in levels]


def gray(model):
    model.backbone.in_channels = 1
    model.data_preprocessor = dict(num_classes=10, mean=[33.], std=[78.])
    return model


def four_channels(model):
    model.backbone.in_channels = 4
    model.data_preprocessor.update(mean=None, std=None, bgr_to_rgb=False)
    return model


@pytest.mark.parametrize(('config', 'change', 'channels'), [
    ('mmpretrain::resnet/resnet18_8xb16_cifar10.py', gray, 1),
    ('mmseg::upernet/upernet_r18_4xb4-80k_ade20k-512x512.py', four_channels, 4),
    ('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', lambda model: model, 3),
], ids=['1', '4', '3, 12 after Focus'])
def test_a_model_is_probed_with_as_many_channels_as_it_takes(
        config, change, channels):
    init_default_scope(config.partition('::')[0])
    model = MODELS.build(change(read_model_config(config)))
    probe = adapt(model, 'student').probe
    assert (probe.channels, probe.size) == (channels, 256)


def test_levels_of_a_classifier_with_fully_connected_layers():
    adapter = adapter_of('mmpretrain::vgg/vgg11_8xb32_in1k.py')
    assert adapter.probe.size == 224
    assert described(adapter.levels.values()) == [
        ('C2', 'backbone.features.3', 128, 56),
        ('C3', 'backbone.features.6', 256, 28),
        ('C4', 'backbone.features.9', 512, 14),
        ('C5', 'backbone.features.12', 512, 7)]


def test_levels_of_a_transformer_of_a_fixed_size():
    adapter = adapter_of('mmpretrain::tinyvit/tinyvit-5m_8xb256_in1k.py')
    assert adapter.probe.size == 224
    assert described(adapter.levels.values()) == [
        ('C3', 'backbone.stages.0', 128, 28),
        ('C4', 'backbone.stages.1', 160, 14),
        ('C5', 'backbone.stages.3', 320, 7)]


def test_levels_of_ssd300():
    adapter = adapter_of('mmdet::ssd/ssd300_coco.py')
    assert adapter.probe.size == 300
    assert [row for row in described(adapter.levels.values())
            if row[0][0] == 'P'] == [
        ('P3', 'neck.l2_norm', 512, 38),
        ('P4', 'neck[1]', 1024, 19),
        ('P5', 'neck.extra_layers.0', 512, 10),
        ('P6', 'neck.extra_layers.1', 256, 5),
        ('P7', 'neck.extra_layers.2', 256, 3),
        ('P8', 'neck.extra_layers.3', 256, 1)]


def test_levels_of_an_fpn_are_named_by_their_modules():
    adapter = adapter_of('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    assert [level.path for level in adapter.levels.values()] == [
        *(f'backbone.layer{i}' for i in (1, 2, 3, 4)),
        *(f'neck.fpn_convs.{i}' for i in range(4)), 'neck[4]']
    assert [level.in_backbone for level in adapter.levels.values()] == (
        [True] * 4 + [False] * 5)


SMALL_VGG = 'mmpretrain::vgg/vgg11_8xb32_in1k.py'
RESNET = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'


def test_student_and_teacher_are_probed_with_one_size():
    init_default_scope('mmpretrain')
    model = MODELS.build(pair_model(RESNET, SMALL_VGG))
    sizes = [(level.name, level.size, level.stride) for level in model.levels]
    assert sizes == [('C2', (56, 56), 4), ('C3', (28, 28), 8),
                     ('C4', (14, 14), 16), ('C5', (7, 7), 32)]
    assert [level.size for level in model.teacher.levels] == [
        level.size for level in model.levels]


def test_probe_size_of_the_config_is_used():
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(pair_model(RESNET, RESNET), probe_size=96))
    assert [level.size[0] for level in model.levels] == [24, 12, 6, 3]


@pytest.mark.parametrize(('size', 'sentence'), [
    (64, r'teacher .ImageClassifier. cannot be run on an image of 64 × 64 px '
     r'with 3 channels, on the cpu .*; tried: 64 px; accepted: in '
     r'model.probe_size'),
    (0, 'model: probe_size=0; accepted: an integer >= 1'),
    ((224, 224), r'probe_size=\(224, 224\); accepted: an integer >= 1'),
])
def test_a_probe_size_that_cannot_work_is_refused(size, sentence):
    init_default_scope('mmpretrain')
    with pytest.raises(ValueError, match=sentence):
        MODELS.build(dict(pair_model(RESNET, SMALL_VGG), probe_size=size))
