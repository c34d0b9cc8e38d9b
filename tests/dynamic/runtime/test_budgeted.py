"""A model that is run as a controller chooses."""

import math

import pytest
import torch

from mmrlkd.dynamic.blind import BlindRule
from mmrlkd.dynamic.budgeted import BudgetedModel, check_model
from mmrlkd.dynamic.deployed import BudgetedController
from mmrlkd.files import digest


@pytest.fixture
def batch(tiny_parts, detection_batch):
    return lambda: tiny_parts.model.data_preprocessor(detection_batch, False)


def assert_same(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(one.pred_instances[key],
                               other.pred_instances[key]), key


def test_each_image_runs_in_its_own_setting(tiny_parts, fixed_controller, batch):
    """Budgets allow the settings 3, 2, 0 and none; bounds are 1.5 · median, and
    0.5 more where there is a choice and the image is looked at."""
    budgeted = BudgetedModel(tiny_parts, fixed_controller(3, 2, 1, 0))
    budgets = torch.tensor([math.inf, 8.1, 4.9, 2.9])
    samples, decisions = budgeted.predict(batch(), budgets)
    assert [each.setting for each in decisions] == [3, 2, 0, 0]
    assert [each.feasible for each in decisions] == [True, True, True, False]
    assert [each.predicted_ms for each in decisions] == pytest.approx(
        [12.5, 8.0, 3.0, 3.0])
    assert [each.looked for each in decisions] == [True, True, False, False]
    assert decisions[1].values == dict(scale=1.0, blocks='1-1-1-1')
    assert [each.budget_ms for each in decisions] == pytest.approx(
        budgets.tolist())
    assert_same(samples, budgeted.predict_in(batch(), [3, 2, 0, 0]))


def test_the_full_setting_is_the_unmodified_model(
        tiny_parts, fixed_controller, batch):
    """Although it continues from the stage that the controller looked at."""
    samples, _ = BudgetedModel(tiny_parts, fixed_controller(3)).predict(
        batch(), math.inf)
    with torch.no_grad():
        plain = tiny_parts.model(**batch(), mode='predict')
    assert_same(samples, plain)


def test_where_looking_does_not_pay_nothing_runs_before_the_model(
        tiny_parts, fixed_controller, batch, monkeypatch):
    """Looking pays at 10 ms, and not at 20. Nobody has looked at 20 ms, so there the
    choice is the most valuable setting that fits, and not what is preferred."""
    controller = fixed_controller(1)
    controller.blind = BlindRule(
        torch.tensor([.1, .2, .4, .3]), torch.tensor([10., 20.]),
        torch.tensor([True, False]))
    looked, compute = [], tiny_parts.feature.compute
    monkeypatch.setattr(tiny_parts.feature, 'compute', lambda inputs, samples: (
        looked.append(len(samples)), compute(inputs, samples))[1])
    budgeted = BudgetedModel(tiny_parts, controller)
    budgets = torch.tensor([9., 16., 7., math.inf])
    samples, decisions = budgeted.predict(batch(), budgets)
    assert [each.looked for each in decisions] == [True, False, True, False]
    assert [each.setting for each in decisions] == [1, 2, 1, 2]
    assert [each.predicted_ms for each in decisions] == pytest.approx(
        [5.0, 7.5, 5.0, 7.5])
    assert_same(samples, budgeted.predict_in(batch(), [1, 2, 1, 2]))
    assert looked == [4]  # a batch is looked at as a whole
    budgeted.predict(batch(), 20.)
    assert looked == [4]
    budgeted.looking().predict(batch(), 20.)
    assert looked == [4, 4]


def test_a_budget_at_which_nothing_is_looked_at_is_decided_once(
        tiny_parts, fixed_controller, batch, monkeypatch):
    controller = fixed_controller(3)
    controller.blind = BlindRule(
        torch.tensor([.1, .2, .4, .3]), torch.ones(1), torch.tensor([False]))
    decided = []
    monkeypatch.setattr(type(controller), 'unseen', lambda self, budget: (
        decided.append(budget), BudgetedController.unseen(self, budget))[1])
    budgeted = BudgetedModel(tiny_parts, controller)
    (first, *_), (again, *_), (other, *_) = (
        budgeted.predict(batch(), budget)[1] for budget in (13., 13., 5.))
    assert first == again and decided == [13., 5.]
    assert (first.setting, other.setting) == (2, 1)
    # On a machine of half the speed, it is another decision.
    slow = budgeted.with_controller(controller.adjusted(time_scale=2.))
    (slower, *_) = slow.predict(batch(), 13.)[1]
    assert (slower.setting, slower.predicted_ms) == (1, 9.)
    assert decided == [13., 5., 13.]


@pytest.mark.parametrize('budget', [0, -1.0, math.nan, 2.9])
def test_budgets_that_nothing_keeps_are_refused(
        tiny_parts, fixed_controller, budget):
    budgeted = BudgetedModel(tiny_parts, fixed_controller(3))
    budgeted.check_budget('test', torch.tensor([3.0, math.inf]))
    with pytest.raises(ValueError, match=(
            r'test: budget_ms=.*; accepted: numbers >= 3, the ms that the '
            r'cheapest setting \(scale=0.5 blocks=1-1-1-1\) takes')):
        budgeted.check_budget('test', torch.tensor([5.0, budget]))


@pytest.mark.parametrize('change, sentence', [
    (dict(knobs=[dict(name='scale', values=[0.5, 0.75, 1.0, 2.0], full=2)]),
     'budget: knobs=.*blocks.*accepted: those of the controller'),
    (dict(feature=dict(stage='layer2', scale=1.0)),
     "budget.feature: stage='layer1'; accepted: that of the controller, 'layer2'"),
])
def test_a_controller_of_something_else_is_refused(
        tiny_parts, fixed_controller, change, sentence):
    from dataclasses import replace
    controller = fixed_controller(3)
    other = type(controller)(replace(controller.header, **change), [3])
    with pytest.raises(ValueError, match=sentence):
        BudgetedModel(tiny_parts, other)


def test_a_controller_of_other_weights_is_refused(fixed_controller, tmp_path):
    file = tmp_path / 'weights.pth'
    with pytest.raises(ValueError, match='checkpoint=.*; accepted: a file'):
        check_model(fixed_controller(0), file)
    file.write_bytes(b'weights')
    check_model(fixed_controller(0, model=digest(file)), file)
    check_model(fixed_controller(0), file)  # of a table that does not say
    with pytest.raises(ValueError, match=(
            'accepted: the file that was profiled, whose SHA-256 begins with 0123')):
        check_model(fixed_controller(0, model='0123'), file)
