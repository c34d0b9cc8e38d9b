"""REINFORCE's update against its definition, by hand and by enumeration."""

import itertools
import math

import pytest
import torch
from mmrlkd.decision import SubsetDistribution

from mmrlkd.structures import Rollout


def gradients(policy):
    """Of all but the critic, which has none."""
    return torch.cat([
        p.grad.flatten() for key, p in policy.named_parameters()
        if not key.startswith('heads.value')])


@pytest.fixture
def rewarded(build_policy, act):
    """Two-step episodes with the given rewards (2, B)."""
    policy = build_policy(horizon=2)

    def play(rewards):
        rewards = torch.tensor(rewards)
        feasible = (torch.arange(16) > 0).expand(*rewards.shape, 16)
        return act(policy, torch.randn(*rewards.shape, 8), feasible,
                   lambda actions: rewards)

    return policy, play


# -- the baseline --------------------------------------------------------------


def test_baseline_by_hand(rewarded, build_reinforce):
    """Returns (1 + ½·2, 3 + ½·4) = (2, 5) and (2, 4), with means 3.5 and 3.

    The advantage is taken first: it is the whole return at first, and the
    baseline of two updates is seen by the third.
    """
    policy, play = rewarded
    learner = build_reinforce(policy, gamma=0.5, baseline_decay=0.6)
    found = learner.update(play([[1., 3.], [2., 4.]]))
    assert found.advantage == 3.25
    assert learner.baseline.tolist() == [3.5, 3.]

    found = learner.update(play([[0.] * 3] * 2))
    assert found.advantage == -3.25
    assert learner.baseline.tolist() == [1.75, 1.5]  # the mean of two

    found = learner.update(play([[1.], [0.]]))
    assert found.advantage == pytest.approx((1 - 1.75 - 1.5) / 2)
    # From now on a new return counts 0.4: the third mean would be 1/3.
    assert learner.baseline.tolist() == pytest.approx(
        [0.6 * 1.75 + 0.4, 0.6 * 1.5])


def test_baseline_is_one_for_each_step(rewarded, build_reinforce):
    """Later steps have less to come; their baseline must not be the first's."""
    policy, play = rewarded
    learner = build_reinforce(policy, gamma=1.)
    for _ in range(3):
        found = learner.update(play([[1.] * 4, [1.] * 4]))
    assert learner.baseline.tolist() == [2., 1.]
    assert found.advantage == 0


@pytest.mark.parametrize('number', [math.nan, 1e30])
def test_baseline_keeps_what_taught_nothing_out(
        rewarded, build_reinforce, number):
    policy, play = rewarded
    learner = build_reinforce(policy)
    learner.update(play([[1., 3.], [2., 4.]]))
    before = learner.baseline.clone()
    assert learner.update(play([[number] * 2] * 2)).skipped_steps == 1
    assert learner.baseline.equal(before)


def test_broken_episodes_are_not_in_the_baseline(rewarded, build_reinforce):
    policy, play = rewarded
    learner = build_reinforce(policy, gamma=1.)
    found = learner.update(play([[1., math.nan, 3.], [1., 7., 1.]]))
    assert learner.baseline.tolist() == [3., 1.]
    assert found.dropped_episodes == 1


# -- the gradient --------------------------------------------------------------


def test_one_step_on_all_episodes(build_policy, build_reinforce, make_rollout):
    policy = build_policy()
    learner = build_reinforce(policy)
    learner.update(make_rollout(policy, episodes=50))
    steps = {int(state['step']) for state in learner.optimizer.state.values()}
    assert steps == {1}


def test_entropy_bonus_is_of_the_distribution(
        build_policy, build_reinforce, make_rollout, twin):
    """Without rewards the gradient is that of the entropy, not of a sample."""
    policy = build_policy()
    other = twin(policy)
    rollout = make_rollout(policy)
    rollout.rewards.zero_()
    logits, _ = other.evaluate(rollout.states)
    entropy = SubsetDistribution(logits, rollout.feasible).entropy().mean()
    (-0.3 * entropy).backward()
    found = build_reinforce(
        policy, entropy_coef=0.3, max_grad_norm=1e9).update(rollout)
    torch.testing.assert_close(found.entropy, entropy.detach())
    torch.testing.assert_close(
        gradients(policy), gradients(other), rtol=1e-4, atol=1e-7)


FEASIBLE = torch.zeros(16, dtype=torch.bool)
FEASIBLE[[1, 6, 12]] = True
#: What the first action pays, and what the second pays after the first.
FIRST, SECOND = torch.randn(17, 16, generator=torch.Generator().manual_seed(
    0)).split([1, 16])


@pytest.mark.parametrize('baseline', [0., 5.])
def test_expects_the_exact_gradient(
        build_policy, build_reinforce, make_states, twin, baseline):
    """E = ∇J / T, summed over all nine episodes of two steps there are;
    whatever the baseline, which the actions have no say in."""
    policy = build_policy(horizon=2)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    states = make_states(torch.randn(2, 1, 8))
    feasible = FEASIBLE.expand(2, 1, 16)
    logits, values = policy.evaluate(states)
    choice = SubsetDistribution(logits, feasible)
    first, second = choice.probs[:, 0]
    (first @ (FIRST[0] + SECOND @ second)).backward()
    exact = gradients(policy)

    expected = torch.zeros_like(exact)
    for episode in itertools.product((1, 6, 12), repeat=2):
        actions = torch.tensor(episode)[:, None]
        rewards = torch.stack([FIRST[0, actions[0]], SECOND[*actions]])
        rollout = Rollout(
            states, actions, feasible, choice.log_prob(actions).detach(),
            values.detach(), rewards)
        other = twin(policy)
        learner = build_reinforce(
            other, gamma=1., entropy_coef=0., max_grad_norm=1e9)
        learner.baseline = torch.full((2, ), baseline)
        learner.update(rollout)
        expected -= rollout.log_probs.exp().prod() * gradients(other)
    torch.testing.assert_close(expected, exact / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('key', 'value'), [
    ('entropy_coef', -1), ('gamma', 1.1), ('baseline_decay', 1.),
    ('baseline_decay', -0.1)])
def test_impossible_settings_are_errors(
        build_policy, build_reinforce, key, value):
    with pytest.raises(ValueError, match=f'REINFORCE: {key}={value} must be'):
        build_reinforce(build_policy(), **{key: value})
