"""The numbers of an end-to-end test, from measurements that are given."""

import pytest

from mmrlkd.dynamic.budgeted import BudgetedModel, Decision
from mmrlkd.dynamic.quality import Score
from mmrlkd.dynamic.testing import Measured, measure, summarise


def measured(stratum, setting, latency, direct, quality, **static):
    return Measured(stratum, Decision(
        setting, dict(scale=setting), 10., 9., setting > 0, setting > 0),
        latency, direct,
        quality, **static)


def test_known_numbers():
    row = summarise([
        measured('1', 0, 8., 7.5, 1., static=9., static_quality=0.5),
        measured('2', 1, 10., 8., 0., static=9., static_quality=0.5),
        measured('2', 1, 11., 10., 0.5, static=11., static_quality=0.8)])
    assert row['images'] == 3
    assert row['latency_ms'] == pytest.approx(
        dict(mean=29 / 3, p50=10, p95=10.9, p99=10.98))
    assert row['within'] == pytest.approx(2 / 3)  # a budget is kept if it is spent
    assert row['infeasible'] == pytest.approx(1 / 3)
    assert row['quality'] == 0.5 and row['looked'] == pytest.approx(2 / 3)
    assert row['overhead_ms'] == 1 and row['overhead'] == pytest.approx(0.1)
    assert row['overhead_total'] == pytest.approx(3.5 / 25.5)
    assert row['settings'] == {'1': {'scale=0': 1}, '2': {'scale=1': 2}}
    assert row['static']['within'] == pytest.approx(2 / 3)
    assert row['static']['quality'] == pytest.approx(0.6)
    assert summarise([measured(None, 0, 8., 7., 1.)])['static'] is None


def test_each_run_is_given_to_its_own_evaluator(
        tiny_parts, fixed_controller, detection_batch, monkeypatch):
    """The settings of the controller, 3, and of the static run, 0, say which."""
    budgeted = BudgetedModel(tiny_parts, fixed_controller(3))
    images = [{key: value[i:i + 1] for key, value in detection_batch.items()}
              for i in range(3)]
    ran, own, static = [], [], []

    def traced(index):
        ran.append(index)
        return original(index)

    def marked(inputs, data_samples, mode):
        for sample in forward(inputs, data_samples, mode):
            sample.set_metainfo(dict(ran=ran[-1]))
        return data_samples

    original, forward = tiny_parts.space.set, tiny_parts.model.forward
    monkeypatch.setattr(tiny_parts.space, 'set', traced)
    monkeypatch.setattr(tiny_parts.model, 'forward', marked)
    monkeypatch.setattr(type(tiny_parts.quality), '__call__',
                        lambda self, sample: Score(sample.ran / 4))
    rows = measure(budgeted, images, 100.,
                   lambda samples, data: own.append((samples[0].ran, data)), 0,
                   lambda samples, data: static.append((samples[0].ran, data)))
    assert own == [(3, image) for image in images]
    assert static == [(0, image) for image in images]
    assert [(row.quality, row.static_quality) for row in rows] == [(0.75, 0.)] * 3
    assert all(row.latency > 0 and row.direct > 0 for row in rows)
    assert [row.stratum for row in rows] == [
        str(len(image['data_samples'][0].gt_instances)) for image in images]
