"""Skipped blocks are the identity, and only those that can be are skipped."""

import pytest
import torch

from mmrlkd.dynamic.knobs import ResidualBlocks


def test_a_skipped_block_adds_nothing(build_task):
    task = build_task('classification')
    knob = ResidualBlocks([(1, 2, 1, 1), (2, 2, 2, 2)])
    knob.bind(task.model)
    backbone, image = task.model.backbone, task.batch()['inputs']

    def by_hand(x):
        x = backbone.maxpool(backbone.relu(backbone.norm1(backbone.conv1(x))))
        for layer, count in zip(backbone.res_layers, (1, 2, 1, 1)):
            for block in list(getattr(backbone, layer))[:count]:
                x = block(x)
        return x

    expected = by_hand(image)
    with torch.no_grad(), knob.set(0):
        assert torch.equal(backbone(image)[-1], expected)
    assert not torch.equal(backbone(image)[-1], expected)


def test_a_stage_whose_first_block_keeps_the_shape_can_be_skipped(build_task):
    task = build_task('segmentation')
    knob = ResidualBlocks([(0, 1, 1, 1), (2, 2, 2, 2)])
    knob.bind(task.model)
    with knob.set(0):
        assert torch.isfinite(task.predict(task.batch())[0]['logits']).all()


@pytest.mark.parametrize('run, message', [
    ([(1, 0, 1, 1), (2, 2, 2, 2)], r'run\[0\]\[1\]=0; accepted: an integer in \[1'),
    ([(1, 1, 1), (2, 2, 2, 2)], r'run\[0\].*one number for each of 4'),
    ([(1, 1, 1, 1), (3, 4, 6, 3)], r'run\[-1\].*\(2, 2, 2, 2\), all blocks')])
def test_blocks_that_the_backbone_does_not_have_are_refused(
        build_task, run, message):
    with pytest.raises(ValueError, match=message):
        ResidualBlocks(run).bind(build_task('classification').model)


@pytest.mark.parametrize('run', [[], [(2, 2), (1, 1)], [(1, 2), (2, 1)]])
def test_lists_that_are_not_in_ascending_order_are_refused(run):
    with pytest.raises(ValueError, match='more blocks in total'):
        ResidualBlocks(run)


def test_a_backbone_without_residual_blocks_is_refused(build_task):
    def change(cfg):
        cfg.backbone = dict(type='MobileNetV2', widen_factor=0.25)
        cfg.head.in_channels = 1280

    task = build_task('classification', change)
    with pytest.raises(ValueError, match="'blocks' does not fit.*is a ResNet"):
        ResidualBlocks([(1, ), (2, )]).bind(task.model)
