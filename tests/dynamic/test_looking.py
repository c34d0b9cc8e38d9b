"""What looking at an image costs is part of a setting's latency."""

import math

import pytest
import torch

from mmrlkd.dynamic.baselines import static
from mmrlkd.dynamic.comparison import _outcome
from mmrlkd.dynamic.controller import Controller
from mmrlkd.dynamic.deployed import ControllerHeader, LoadedController
from mmrlkd.dynamic.environment import BudgetTask
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.reward import BudgetReward
from mmrlkd.dynamic.table import looking_ms

#: 3 ms, but not in the settings 2 and 3.
FEATURE = dict(ms=3., reused=[2, 3])
ADDED = [3., 3., 0., 0., 3., 3.]


def test_settings_that_continue_from_the_stage_pay_nothing():
    assert looking_ms(FEATURE, 6).tolist() == ADDED
    assert looking_ms({}, 6).tolist() == [0.] * 6  # of others, who did not measure


@pytest.fixture
def table(profile):
    from dataclasses import replace
    return replace(profile, header=replace(profile.header, feature=FEATURE))


def test_masks_and_rewards_count_it(table):
    latency = LatencyModel.fit(table, 0.9)
    task = BudgetTask(table, latency, BudgetReward(), overhead_ms=1.)
    plain = BudgetTask(table, latency, BudgetReward(), overhead_ms=1.)
    plain.added = torch.ones(6)
    upper = (latency.median * latency.ratio)[0].item()
    images, budget = torch.zeros(1, dtype=torch.long), torch.tensor([upper + 2.])
    # Without looking, the first setting fits; with it, none does.
    assert plain.decisions(images, budget).feasible.item()
    assert not task.decisions(images, budget).feasible.item()
    outcome = _outcome(static(table, 0), table, math.inf, 1. + table.looking)
    assert outcome['latency_ms'] == pytest.approx(
        table.latency[:, 0].mean().item() + 4)


def test_a_deployed_controller_counts_it(table):
    latency = LatencyModel.fit(table, 0.9)
    controller = LoadedController(
        ControllerHeader.of(table.header, feature_dim=4, context_dim=0,
                            overhead_ms=1., budgets=(10, 50)),
        latency, Controller(4, (3, 2)))
    upper = latency.median * latency.ratio
    slower = controller.adjusted(overhead_ms=2., time_scale=3.)
    features = torch.zeros(1, 4)
    torch.testing.assert_close(
        controller.predicted_ms(features)[0], upper + torch.tensor(ADDED) + 1)
    torch.testing.assert_close(
        slower.predicted_ms(features)[0], 3 * (upper + torch.tensor(ADDED)) + 2)
    for each in (controller, slower):
        predicted = each.predicted_ms(features)
        for budget in predicted[0].tolist():
            assert torch.equal(each.allowed(features, budget + 1e-3)[0],
                               predicted[0] <= budget + 1e-3)
