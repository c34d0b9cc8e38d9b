"""Images of a batch that get the same setting run together, in order."""

import copy

import pytest
import torch

from mmrlkd.dynamic.features import StageFeature
from mmrlkd.dynamic.knobs import InputScale, ResidualBlocks
from mmrlkd.dynamic.run import run_settings
from mmrlkd.dynamic.settings import SettingSpace


@pytest.fixture
def space(task) -> SettingSpace:
    space = SettingSpace([
        InputScale((0.5, 1.0)),
        ResidualBlocks([(2, 1, 1, 1), (2, 2, 2, 2)])])
    space.bind(task.model)
    return space


def close(one: dict, other: dict) -> bool:
    return all(torch.allclose(one[key].float(), other[key].float(), atol=1e-3)
               for key in one)


def tensors(task, samples: list) -> list[dict]:
    from_conftest = {
        'segmentation': lambda s: dict(logits=s.seg_logits.data),
        'classification': lambda s: dict(score=s.pred_score)}
    return [from_conftest.get(
        task.name, lambda s: dict(s.pred_instances.items()))(sample)
        for sample in samples]


@pytest.mark.parametrize('looks', [False, True])
def test_each_image_gets_what_its_setting_gives_it(task, space, looks):
    batch = task.batch(images=5)
    settings = [3, 0, 2, 0, 3]
    feature = early = None
    if looks:
        feature = StageFeature()
        feature.bind(task.model)
        early = feature.compute(batch['inputs'], batch['data_samples'])
    found = tensors(task, run_settings(
        task.model, copy.deepcopy(batch), space, settings, feature, early))
    for setting in set(settings):
        with space.set(setting):
            expected = tensors(task, task.model(
                **copy.deepcopy(batch), mode='predict'))
        for i, chosen in enumerate(settings):
            assert close(found[i], expected[i]) == (chosen == setting)


def test_samples_come_back_in_order_and_settings_run_once_each(task, space):
    batch = task.batch(images=4)
    sizes = []
    handle = task.model.backbone.register_forward_pre_hook(
        lambda module, args: sizes.append(tuple(args[0].shape)))
    found = run_settings(
        task.model, batch, space, [3, 1, 3, 3])
    handle.remove()
    assert all(a is b for a, b in zip(found, batch['data_samples']))
    assert sizes == [(1, 3, 32, 32), (3, 3, 64, 64)]


def test_one_setting_for_all_is_the_model_in_that_setting_to_the_bit(task, space):
    batch = task.batch(images=2)
    expected = task.predict(batch)
    found = tensors(task, run_settings(
        task.model, copy.deepcopy(batch), space, [space.full] * 2))
    for one, other in zip(expected, found):
        assert all(torch.equal(one[key], other[key]) for key in other)
