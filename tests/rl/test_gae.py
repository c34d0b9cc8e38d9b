"""Advantages against the definition, torchrl and two identities."""

import pytest
import torch
from mmrlkd.learners import generalized_advantages


def brute_force(rewards, values, gamma, lam):
    """A_t = Σ_k (γλ)^k δ_{t+k}, term by term."""
    steps = len(rewards)
    following = torch.cat([values[1:], torch.zeros_like(values[:1])])
    deltas = rewards + gamma * following - values
    return torch.stack([
        sum((gamma * lam)**(k - t) * deltas[k] for k in range(t, steps))
        for t in range(steps)])


@pytest.fixture
def episodes():
    return torch.randn(2, 5, 7, dtype=torch.float64)


@pytest.mark.parametrize('gamma', [0.9, 0.99, 1.])
@pytest.mark.parametrize('lam', [0., 0.5, 0.95, 1.])
def test_equals_the_definition(episodes, gamma, lam):
    torch.testing.assert_close(
        generalized_advantages(*episodes, gamma, lam),
        brute_force(*episodes, gamma, lam), rtol=0, atol=1e-12)


def test_lambda_0_is_the_td_error(episodes):
    rewards, values = episodes
    following = torch.cat([values[1:], torch.zeros_like(values[:1])])
    torch.testing.assert_close(
        generalized_advantages(rewards, values, 0.9, 0.),
        rewards + 0.9 * following - values)


def test_lambda_1_is_monte_carlo_minus_value(episodes):
    rewards, values = episodes
    discounts = 0.9**torch.arange(5, dtype=torch.float64)[:, None]
    returns = torch.stack([
        (rewards[t:] * discounts[:5 - t]).sum(0) for t in range(5)])
    torch.testing.assert_close(
        generalized_advantages(rewards, values, 0.9, 1.), returns - values)


def test_one_step_is_reward_minus_value(episodes):
    rewards, values = episodes[:, :1]
    torch.testing.assert_close(
        generalized_advantages(rewards, values, 0.99, 0.95), rewards - values)


def test_equals_torchrl(episodes):
    functional = pytest.importorskip('torchrl.objectives.value.functional')
    rewards, values = (e.float().T[..., None] for e in episodes)  # (B, T, 1)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    terminated = torch.zeros_like(values, dtype=torch.bool)
    terminated[:, -1] = True
    expected, _ = functional.generalized_advantage_estimate(
        0.99, 0.95, values, following, rewards, done=terminated,
        terminated=terminated)
    found = generalized_advantages(*episodes.float(), 0.99, 0.95)
    torch.testing.assert_close(
        found, expected[..., 0].T, rtol=0, atol=1e-5)
