"""What is true of every knob on every library's models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mmrlkd.dynamic.knobs import (
    InputScale,
    Knob,
    Proposals,
    ResidualBlocks,
    Tiles,
)

ALL = ('detection', 'detection-two-stage', 'segmentation', 'classification')
#: Knobs, with the tasks that they fit.
KNOBS: dict[str, tuple[Callable[[], Knob], tuple[str, ...]]] = {
    'scale': (lambda: InputScale((0.5, 1.0, 1.5)), ALL),
    'blocks': (lambda: ResidualBlocks(
        [(1, 1, 1, 1), (2, 2, 1, 1), (2, 2, 2, 2)]), ALL),
    'tiles': (lambda: Tiles((1, 4, 9), whole=False), ALL),
    'tiles and the image': (
        lambda: Tiles((1, 4), overlap=0.5, enlarge=False), ALL),
    'proposals of one stage': (lambda: Proposals((5, 50)), ('detection', )),
    'proposals of two stages': (
        lambda: Proposals((3, 40)), ('detection-two-stage', )),
}


@pytest.fixture(params=[(name, knob) for knob, (_, tasks) in KNOBS.items()
                        for name in tasks], ids='-'.join)
def bound(request: pytest.FixtureRequest, build_task) -> tuple[Any, Knob]:
    """A task, and a knob that is bound to its model."""
    name, kind = request.param
    task, knob = build_task(name), KNOBS[kind][0]()
    knob.bind(task.model)
    return task, knob


def same(first: list, second: list) -> bool:
    """Whether predictions are equal to the bit."""
    return all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True))


def test_the_full_setting_is_the_model_itself(bound):
    task, knob = bound
    batch = task.batch(size=(64, 48))
    before = task.predict(batch)
    with knob.set(knob.full):
        assert same(task.predict(batch), before)


def test_every_other_setting_changes_predictions_and_nothing_stays(bound):
    task, knob = bound
    batch = task.batch(size=(64, 48))
    before = task.predict(batch)
    weights = {k: v.clone() for k, v in task.model.state_dict().items()}
    attributes = {name: dict(vars(module))
                  for name, module in task.model.named_modules()}
    for choice in range(len(knob.values)):
        if choice != knob.full:
            with knob.set(choice):
                assert not same(task.predict(batch), before)
    assert same(task.predict(batch), before)
    after = task.model.state_dict()
    assert all(torch.equal(weights[name], after[name]) for name in weights)
    for name, module in task.model.named_modules():
        assert {k: id(v) for k, v in vars(module).items()} == {
            k: id(v) for k, v in attributes[name].items()}


def test_the_model_is_restored_after_an_exception(bound):
    task, knob = bound
    batch = task.batch()
    before = task.predict(batch)
    for choice in range(len(knob.values)):
        with pytest.raises(KeyError), knob.set(choice):
            raise KeyError
    assert same(task.predict(batch), before)


def test_a_sample_keeps_its_annotations_and_meta_data(bound):
    task, knob = bound
    for choice in range(len(knob.values)):
        batch = task.batch()
        metas = [sample.metainfo for sample in batch['data_samples']]
        with torch.no_grad(), knob.set(choice):
            samples = task.model(**batch, mode='predict')
        for sample, given, meta in zip(samples, batch['data_samples'], metas):
            assert sample is given
            assert meta.items() <= sample.metainfo.items()
            assert any(key.startswith('gt_') for key, _ in sample.items())


def test_a_knob_says_its_name_its_values_and_which_of_them_is_full(bound):
    _, knob = bound
    assert knob.name and len(knob.values) > 1
    assert 0 <= knob.full < len(knob.values)
    assert all(isinstance(value, int | float | str) for value in knob.values)
