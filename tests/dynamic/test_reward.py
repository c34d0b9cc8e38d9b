"""The reward against its formula."""

import math

import pytest
import torch

from mmrlkd.dynamic.reward import BudgetReward


def test_it_is_the_formula():
    reward = BudgetReward(quality=1., latency=0.5, violation=10., complexity=0.05,
                          efficiency=0.1, softness=0.2)
    found = reward(
        torch.tensor([[0.8, 0.9, 0.9]]), torch.tensor([[10., 20., 30.]]),
        torch.tensor([20.]), torch.tensor([0.4, 0.7, 1.]))

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    torch.testing.assert_close(found, torch.tensor([[
        0.8 - 0.5 * sigmoid(-0.5 / 0.2) - 0.05 * 0.4 + 0.1 * 0.5,
        0.9 - 0.5 * 0.5 - 0.05 * 0.7,  # the budget is spent and not exceeded
        0.9 - 0.5 * sigmoid(0.5 / 0.2) - 10 - 0.05,
    ]]))


def test_without_a_budget_nothing_is_exceeded():
    reward = BudgetReward(latency=0.5, complexity=0.05, efficiency=0.1)(
        torch.tensor([[0.2, 0.7]]), torch.tensor([[10., 20.]]),
        torch.tensor([math.inf]), torch.tensor([0.5, 1.]))
    torch.testing.assert_close(
        reward, torch.tensor([[0.2 - 0.025 + 0.1, 0.7 - 0.05 + 0.1]]))


def test_by_default_only_quality_counts_and_what_is_late_is_worth_nothing():
    quality = torch.tensor([[0.2, 0.7, 1.]])
    reward = BudgetReward()(quality, torch.tensor([[10., 20., 20.1]]),
                            torch.tensor([20.]), torch.tensor([0.5, 1., 1.]))
    torch.testing.assert_close(reward, torch.tensor([[0.2, 0.7, 0.]]))


@pytest.mark.parametrize(('key', 'value'), [
    ('quality', -1.), ('violation', math.nan), ('softness', 0.)])
def test_impossible_coefficients_are_errors(key, value):
    with pytest.raises(ValueError, match=f'budget.reward: {key}={value}; accepted'):
        BudgetReward(**{key: value})
