"""The image feature is read from the model's run, which goes on from there."""

import pytest
import torch
from torch import nn

from mmrlkd.dynamic.features import StageFeature, pool
from mmrlkd.dynamic.knobs import InputScale, ResidualBlocks, Tiles
from mmrlkd.dynamic.libraries import Area
from mmrlkd.dynamic.settings import SettingSpace


def bound(task, **options) -> StageFeature:
    feature = StageFeature(**options)
    feature.bind(task.model)
    return feature


def pooled_by_hand(maps):
    """(B, 3 C) of maps (B, C, h, w)."""
    flat = maps.flatten(2)
    down, across = maps.diff(dim=2).abs(), maps.diff(dim=3).abs()
    return torch.cat([flat.mean(2), flat.std(2, correction=0),
                      down.mean((2, 3)) + across.mean((2, 3))], 1)


def test_the_feature_is_what_is_pooled_of_the_stages_map(task):
    batch = task.batch(size=(64, 64))
    early = bound(task).compute(batch['inputs'], batch['data_samples'])
    maps = []
    handle = task.model.backbone.layer1.register_forward_hook(
        lambda *call: maps.append(call[-1]))
    task.predict(batch)
    handle.remove()
    assert torch.allclose(early.pooled, pooled_by_hand(maps[0]), atol=1e-5)


def test_padding_is_not_pooled():
    maps = torch.randn(2, 3, 8, 8)
    areas = [Area(0, 0, 32, 32), Area(0, 0, 16, 24)]
    pooled = pool(maps, areas, (32, 32))
    assert torch.allclose(
        pooled[1:], pooled_by_hand(maps[1:, :, :4, :6]), atol=1e-6)
    assert torch.allclose(pooled[:1], pooled_by_hand(maps[:1]), atol=1e-6)
    alone = pool(maps[:1], areas[:1], (32, 32))  # without a mask
    assert torch.allclose(alone, pooled[:1], atol=1e-6)
    pixel = torch.randn(1, 3, 1, 1)
    assert torch.allclose(pool(pixel, areas[:1], (32, 32)), torch.cat(
        [pixel[:, :, 0, 0], torch.zeros(1, 6)], 1))


@pytest.mark.parametrize('between', [False, True])
def test_later_runs_leave_the_backbone_out_where_nothing_is_between_its_modules(
        task, monkeypatch, between):
    batch, backbone = task.batch(), task.model.backbone
    forward, calls = backbone.forward, []

    def traced(x):
        calls.append(1)
        return forward(2 * x if between else x)

    monkeypatch.setattr(backbone, 'forward', traced)
    feature = bound(task, stage='layer2')  # necks read layer1, too
    first, second = (
        feature.compute(batch['inputs'], batch['data_samples']) for _ in range(2))
    assert len(calls) == 1 + between
    assert second.pooled.equal(first.pooled)
    assert [name for name, _ in second.outputs] == [
        name for name, _ in first.outputs]
    assert second.outputs[-1][1].equal(first.outputs[-1][1])
    expected = task.predict(batch)
    for early in (first, second, second.take(torch.arange(2))):
        with feature.reused(early):
            found = task.predict(batch)
        for one, theirs in zip(expected, found):
            assert all(torch.equal(one[key], theirs[key]) for key in one)


def test_nothing_after_the_stage_runs_and_samples_stay(task):
    ran = []
    for name, module in task.model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda *_, name=name: ran.append(name))
    batch = task.batch()
    before = [set(sample.keys()) for sample in batch['data_samples']]
    bound(task, stage='maxpool').compute(
        batch['inputs'], batch['data_samples'])
    assert ran and not any('layer' in name for name in ran)
    assert [set(sample.keys()) for sample in batch['data_samples']] == before


@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_a_run_that_goes_on_from_the_stage_predicts_the_same_to_the_bit(
        task, scale):
    batch = task.batch(size=(64, 48))
    feature = bound(task, scale=scale)
    knob = InputScale((0.5, 1.0))
    knob.bind(task.model)
    inner: list = []
    task.model.backbone.layer1[0].conv1.register_forward_hook(
        lambda *_: inner.append(1))
    with knob.set(knob.values.index(scale)):
        expected = task.predict(batch)
    early = feature.compute(batch['inputs'], batch['data_samples'])
    before = len(inner)
    with knob.set(knob.values.index(scale)), feature.reused(early):
        found = task.predict(batch)
    assert len(inner) == before  # layer1 was called and has computed nothing
    for one, other in zip(expected, found):
        assert all(torch.equal(one[key], other[key]) for key in one)
    # And after it, the model computes again.
    task.predict(batch)
    assert len(inner) == before + 1


def test_only_settings_that_keep_picture_and_early_stages_continue(build_task):
    task = build_task('classification')
    space = SettingSpace([
        InputScale((0.5, 1.0)), Tiles((1, 4)),
        ResidualBlocks([(1, 1, 1, 1), (2, 1, 1, 1), (2, 2, 2, 2)])])
    space.bind(task.model)

    def continuing(**options):
        feature = bound(task, **options)
        return [space.describe(i) for i in range(len(space))
                if feature.reusable(space, i)]

    assert continuing() == ['scale=1.0 tiles=1 blocks=2-1-1-1',
                            'scale=1.0 tiles=1 blocks=2-2-2-2']
    assert continuing(scale=0.5, stage='maxpool') == [
        'scale=0.5 tiles=1 blocks=1-1-1-1', 'scale=0.5 tiles=1 blocks=2-1-1-1',
        'scale=0.5 tiles=1 blocks=2-2-2-2']
    assert continuing(scale=0.25) == []


def test_the_model_is_whole_again_after_an_exception(task):
    batch = task.batch()
    feature = bound(task)
    expected = task.predict(batch)
    early = feature.compute(batch['inputs'], batch['data_samples'])
    with pytest.raises(KeyError), feature.reused(early):
        raise KeyError
    assert not any(module._forward_hooks for module in task.model.modules())
    found = task.predict(batch)
    for one, other in zip(expected, found):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_stages_that_do_not_fit_are_refused(build_task):
    task = build_task('classification')
    with pytest.raises(ValueError, match="stage='layer9'.*conv1, bn1, relu"):
        bound(task, stage='layer9')
    with pytest.raises(ValueError, match=r'scale=2.*\(0, 1\]'):
        StageFeature(scale=2)
    batch = task.batch()
    task.model.backbone.unused = nn.Identity()
    with pytest.raises(ValueError, match='that the forward pass of the backbone'):
        bound(task, stage='unused').compute(
            batch['inputs'], batch['data_samples'])
