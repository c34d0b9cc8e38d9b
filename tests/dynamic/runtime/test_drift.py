"""Latencies of this machine beside the profile's, by a clock that is given."""

import pytest
import torch

from mmrlkd.dynamic import drift as module
from mmrlkd.dynamic.budgeted import BudgetedModel
from mmrlkd.dynamic.drift import corrected, measure_drift
from mmrlkd.dynamic.machine import describe_machine

#: (S,) in ms, what the fixture's controllers predict.
MEDIAN = torch.tensor([2., 3., 5., 8.])


class Clock:
    """Stands still, but for what runs of the model and choices take."""

    def __init__(self, budgeted, speed, monkeypatch):
        self.now = 0.
        run, decide = budgeted.predict_in, budgeted.predict

        def predict_in(batch, settings):
            self.now += speed * MEDIAN[settings[0]].item()
            return run(batch, settings)

        def predict(*args):
            samples, decisions = decide(*args)
            self.now += speed * (MEDIAN[decisions[0].setting].item() + 0.25)
            return samples, decisions

        monkeypatch.setattr(budgeted, 'predict_in', predict_in)
        monkeypatch.setattr(budgeted, 'predict', predict)
        monkeypatch.setattr(module, 'clock_ms', lambda device: self.now)


@pytest.fixture
def at_speed(tiny_parts, fixed_controller, detection_batch, monkeypatch):
    """A model and an image on a machine that takes ``speed`` times as long as
    that of the profile."""

    def build(speed, **machine):
        budgeted = BudgetedModel(tiny_parts, fixed_controller(
            3, machine={**describe_machine('cpu'), **machine}))
        Clock(budgeted, speed, monkeypatch)
        data = {key: value[:1] for key, value in detection_batch.items()}
        return budgeted, budgeted.preprocess(data)

    return build


def test_the_ratio_is_that_of_the_latencies(at_speed):
    drift = measure_drift(*at_speed(2.0, processor='Z80'))
    assert drift.ratio == pytest.approx(2) and drift.drifted
    assert drift.overhead_ms == pytest.approx(0.5)
    assert drift.profiled == pytest.approx({
        'scale=0.5 blocks=1-1-1-1': 2.0, 'scale=1.0 blocks=1-1-1-1': 5.0,
        'scale=1.0 blocks=2-2-2-2': 8.0})
    assert drift.machine == {
        'processor': ('Z80', describe_machine('cpu')['processor'])}
    assert "another machine: processor 'Z80', here" in str(drift)


def test_the_same_machine_at_the_same_speed_is_none(at_speed):
    drift = measure_drift(*at_speed(1.1))
    assert not drift.drifted and not drift.machine


def test_what_is_done_about_it(at_speed):
    budgeted, image = at_speed(2.0)
    scaled = corrected(budgeted, image, 'rescale').controller
    assert scaled.time_scale == pytest.approx(2)
    features = torch.zeros(1, 12)
    assert scaled.predicted_ms(features)[0].tolist() == pytest.approx(
        (MEDIAN * 1.5 * 2 + 0.5).tolist())
    assert corrected(budgeted, image, 'ignore') is budgeted
    with pytest.raises(ValueError, match=(
            "drift='refuse'. Latencies are 2.00 times those of the profile .*"
            "Accepted: a profile of this machine, or drift='rescale'")):
        corrected(budgeted, image, 'refuse')
    with pytest.raises(ValueError, match="drift='no'; accepted: 'rescale', "):
        corrected(budgeted, image, 'no')


@pytest.mark.parametrize(('speed', 'scale'), [(1.1, 1.1), (0.9, 1.)])
def test_of_a_machine_about_as_fast_as_the_profiles_the_slower_time_counts(
        at_speed, speed, scale):
    budgeted, image = at_speed(speed)
    for option in ('rescale', 'refuse'):
        controller = corrected(budgeted, image, option).controller
        assert controller.time_scale == pytest.approx(scale)
        # 0.25 · speed was measured, and the profile says 0.5.
        assert controller.overhead_ms == 0.5
