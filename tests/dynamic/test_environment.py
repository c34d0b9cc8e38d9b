"""Decisions, and the gradients of what they earn."""

import itertools

import pytest
import torch

from mmrlkd.dynamic.controller import Controller, ControllerPolicy
from mmrlkd.dynamic.environment import (
    BudgetEnvironment,
    BudgetTask,
    SettingTree,
    gains_of,
)
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.reward import BudgetReward
from mmrlkd.rl import (
    GRPO,
    ExpectedRewardBatch,
    ExpectedRewardLoss,
    GRPOLoss,
    Rollout,
    play,
    set_aside_broken,
)


@pytest.fixture
def make_task(profile):
    def make(**reward):
        return BudgetTask(profile, LatencyModel.fit(profile),
                          BudgetReward(**reward), overhead_ms=0.5)
    return make


@pytest.fixture
def policy(profile):
    torch.manual_seed(0)
    controller = Controller(4, profile.space.sizes, hidden=8)
    torch.nn.init.normal_(controller.heads.weight, std=0.3)
    controller.calibrate(profile.features, profile.context, 10., 50., 45.)
    return ControllerPolicy(controller)


def test_decisions_know_what_every_setting_earns(make_task, profile):
    task = make_task()
    images = torch.tensor([3, 3, 8])
    decisions = task.decisions(images, torch.tensor([5., 36., 100.]))
    # 5 ms allow nothing, so the cheapest; 36 all but those of 35 and 45 ms.
    assert decisions.observation.action_mask.tolist() == [
        [True, False, False, False, False, False],
        [True, True, True, False, True, False], [True] * 6]
    assert decisions.feasible.tolist() == [False, True, True]
    # The reward is of measured latencies, with the time of the decision.
    expected = BudgetReward()(
        profile.quality[images], profile.latency[images] + 0.5,
        torch.tensor([5., 36., 100.]),
        task.latency.median / task.latency.median[5])
    assert decisions.reward.equal(expected)
    # Without looking, a decision takes no time.
    assert task.rewards(images, torch.tensor([5., 36., 100.]), looked=False).equal(
        BudgetReward()(profile.quality[images], profile.latency[images],
                       torch.tensor([5., 36., 100.]),
                       task.latency.median / task.latency.median[5]))


def test_a_group_has_one_image_and_one_budget(make_task, policy):
    decisions = make_task().decisions(
        torch.tensor([0, 0, 1, 2]), torch.tensor([20., 30., 40., 50.]))
    rollout = play(BudgetEnvironment(decisions, group_size=3), policy)
    assert rollout.shape == (1, 12)
    seen = rollout.observation
    for first in range(0, 12, 3):
        for name in ('features', 'budget', 'action_mask'):
            group = getattr(seen, name)[0, first:first + 3]
            assert group.equal(group[:1].expand_as(group))
    assert seen.budget[0, ::3].tolist() == [20., 30., 40., 50.]
    # Each episode earns what its image's table says of its setting.
    reward = decisions.reward.repeat_interleave(3, 0).gather(
        1, rollout.action[0, :, None])[:, 0]
    assert rollout.reward[0].equal(reward)


def test_groups_stay_whole_in_the_minibatches_of_training(
        make_task, policy, monkeypatch):
    decisions = make_task().decisions(
        torch.arange(7), torch.linspace(20, 50, 7))
    learner = GRPO(group_size=3, epochs=2, minibatches=4)
    learner.bind(policy)
    rollout = play(BudgetEnvironment(decisions, 3), policy)
    budgets, evaluate = [], policy.evaluate
    monkeypatch.setattr(policy, 'evaluate', lambda seen: (
        budgets.append(seen.budget[0]), evaluate(seen))[1])
    learner.update(rollout)
    assert len(budgets) == 1 + 8  # once with the policy that acted
    for batch in budgets:
        assert batch.equal(batch[::3].repeat_interleave(3))


def test_masked_settings_are_never_played(make_task, policy):
    decisions = make_task().decisions(
        torch.arange(100), torch.linspace(5, 60, 100))
    rollout = play(BudgetEnvironment(decisions, 16), policy)
    mask = rollout.observation.action_mask[0]
    assert not mask.all()
    assert mask.gather(1, rollout.action[0, :, None]).all()


def gradient(policy):
    return torch.cat([each.grad.flatten() for each in policy.parameters()])


def exact_gradient(policy, decisions):
    """That of the mean over decisions of Σ_s π(s) R(s)."""
    policy.zero_grad()
    gains = gains_of(decisions)
    batch = ExpectedRewardBatch(
        SettingTree(6).nodes(gains.known), gains.gain, torch.zeros(6),
        torch.tensor(1.), torch.full((len(decisions), ), 1 / len(decisions)))
    loss, _ = ExpectedRewardLoss(entropy_coef=0.).loss(policy, batch)
    (-loss).backward()
    return gradient(policy)


def test_the_exact_gradient_is_that_of_the_expected_reward(make_task, policy):
    decisions = make_task().decisions(
        torch.arange(9), torch.linspace(20, 60, 9))
    found = exact_gradient(policy, decisions)
    policy.zero_grad()
    choice, *_ = policy(decisions.observation, ())
    (choice.probs * decisions.reward).sum(1).mean().backward()
    torch.testing.assert_close(found, gradient(policy), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('size', [2, 3])
def test_grpo_expects_the_exact_gradient_but_for_a_factor(
        make_task, policy, size):
    """(G − 1)/G of it, without scaling by the deviation: the sum over all groups
    of actions that there are, weighted by their probability."""
    decisions = make_task(violation=0.5).decisions(
        torch.tensor([4]), torch.tensor([36.]))
    exact = exact_gradient(policy, decisions)
    choice, *_ = policy(decisions.observation, ())
    probs = choice.probs[0].detach()
    possible = probs.nonzero().flatten().tolist()
    assert len(possible) == 4  # of 6; two are masked
    algorithm = GRPOLoss(group_size=size, scale_by_std=False, kl_coef=0.)
    environment = BudgetEnvironment(decisions, size)
    expected = torch.zeros_like(exact)
    for group in itertools.product(possible, repeat=size):
        actions = torch.tensor(group)
        seen = environment.reset()
        rollout = Rollout(
            observation=seen[None], action=actions[None],
            log_prob=probs[actions].log()[None],
            reward=environment.step(actions).reward[None], batch_size=[1, size])
        batch, _ = algorithm.minibatch(
            algorithm.prepare(policy, *set_aside_broken(rollout)))
        policy.zero_grad()
        algorithm.loss(policy, batch)[0].backward()
        expected -= probs[actions].prod() * gradient(policy)
    torch.testing.assert_close(
        expected, (size - 1) / size * exact, rtol=1e-3, atol=1e-5)
