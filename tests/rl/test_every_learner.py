"""What holds for every registered learner."""

import copy
import io
import math
from dataclasses import fields

import pytest
import torch
from mmrlkd.decision import SubsetDistribution

from mmrlkd import learners  # noqa: F401  (registers the members)
from mmrlkd.registry import LEARNERS

ALL = sorted(name for name, member in LEARNERS.module_dict.items()
             if member.__module__.startswith('mmrlkd.learners'))


@pytest.fixture(params=ALL)
def name(request):
    return request.param


@pytest.fixture
def build(build_learner, name):
    return lambda policy, **kwargs: build_learner(name, policy, **kwargs)


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


def test_the_family_is_complete():
    assert set(ALL) >= {'GRPO', 'PPO', 'REINFORCE'}


def test_diagnostics_are_scalars_without_a_graph(
        build, build_policy, make_rollout):
    policy = build_policy()
    found = build(policy).update(make_rollout(policy))
    assert {'entropy', 'dropped_episodes', 'skipped_steps'} <= {
        field.name for field in fields(found)}
    for field in fields(found):
        value = getattr(found, field.name)
        assert value.shape == (), field.name
        assert value.isfinite(), field.name
        assert not value.requires_grad, field.name


@pytest.mark.parametrize('policy_name', ['LSTMPolicy', 'MLPPolicy'])
@pytest.mark.parametrize('horizon', [1, 4])
def test_an_update_changes_the_policy_and_leaves_it_finite(
        build, build_policy, make_rollout, policy_name, horizon):
    policy = build_policy(policy_name, horizon)
    learner = build(policy)
    for episodes in (12, 4, 8):  # their number may change
        before = weights(policy)
        found = learner.update(make_rollout(policy, episodes, horizon))
        assert found.skipped_steps == 0
        assert found.dropped_episodes == 0
        assert weights(policy).isfinite().all()
        assert not weights(policy).equal(before)


@pytest.mark.parametrize('size', [0., 1e6, 1e30])
def test_rewards_of_any_size_leave_the_policy_finite(
        build, build_policy, make_rollout, size):
    policy = build_policy()
    learner = build(policy)
    rollout = make_rollout(policy)
    rollout.rewards.mul_(size)
    for _ in range(2):
        learner.update(rollout)
    assert weights(policy).isfinite().all()
    # What was too large to learn from is not remembered either.
    assert learner.update(make_rollout(policy)).skipped_steps == 0
    assert weights(policy).isfinite().all()


# -- broken episodes -----------------------------------------------------------


@pytest.mark.parametrize('field', ['rewards', 'values', 'loss'])
@pytest.mark.parametrize('number', [math.nan, math.inf])
def test_broken_episodes_have_no_say(
        build, build_policy, make_rollout, twin, field, number):
    """Whatever stands in them, the update is the same."""
    policy = build_policy()
    other = twin(policy)
    rollout = make_rollout(policy)
    holder = rollout.states if field == 'loss' else rollout
    getattr(holder, field)[1, 4] = number
    getattr(holder, field)[3, 7] = number
    torch.manual_seed(0)
    found = build(policy).update(rollout)
    rollout.rewards[0, [4, 7]] = 1e3
    rollout.states.global_feature[0, [4, 7]] = 1e3
    torch.manual_seed(0)
    expected = build(other).update(rollout)
    assert weights(policy).isfinite().all()
    assert weights(policy).equal(weights(other))
    assert found.dropped_episodes == expected.dropped_episodes == 2
    assert all(getattr(found, f.name).isfinite() for f in fields(found))


def test_nothing_but_broken_episodes_leaves_all_as_it_was(
        build, build_policy, make_rollout, same):
    policy = build_policy()
    learner = build(policy)
    learner.update(make_rollout(policy))  # gives Adam some momentum
    before = weights(policy)
    state = copy.deepcopy(learner.state_dict())
    rollout = make_rollout(policy, episodes=8)
    rollout.rewards[:] = math.nan
    found = learner.update(rollout)
    assert weights(policy).equal(before)
    assert found.dropped_episodes == 8
    assert found.skipped_steps > 0
    assert same(state, learner.state_dict())


# -- schedule and state --------------------------------------------------------


def test_learning_rate_decays_linearly(build, build_policy, make_rollout):
    policy = build_policy()
    learner = build(policy, lr=1e-3)
    for fraction, lr in ((0., 1e-3), (0.25, 7.5e-4), (1., 0.)):
        learner.set_progress(fraction)
        assert learner.optimizer.param_groups[0]['lr'] == pytest.approx(lr)
    before = weights(policy)
    learner.update(make_rollout(policy))
    assert weights(policy).equal(before)


def test_optimizer_is_the_reference_implementations(build, build_policy):
    group = build(build_policy(), lr=3e-4).optimizer.param_groups[0]
    assert (group['lr'], group['eps']) == (3e-4, 1e-5)
    assert group['betas'] == (0.9, 0.999)


def test_resumes_bit_for_bit(build, build_policy, make_rollout):
    policy = build_policy()
    learner = build(policy)
    rollouts = [make_rollout(policy) for _ in range(4)]
    learner.update(rollouts[0])
    learner.update(rollouts[1])
    learner.set_progress(0.5)
    file = io.BytesIO()
    torch.save(dict(policy=policy.state_dict(), learner=learner.state_dict(),
                    rng=torch.get_rng_state()), file)
    file.seek(0)
    expected = [learner.update(rollout) for rollout in rollouts[2:]]

    saved = torch.load(file, weights_only=True)
    other = build_policy()
    resumed = build(other)
    other.load_state_dict(saved['policy'])
    resumed.load_state_dict(saved['learner'])
    torch.set_rng_state(saved['rng'])
    found = [resumed.update(rollout) for rollout in rollouts[2:]]

    assert weights(other).equal(weights(policy))
    for one, two in zip(expected, found, strict=True):
        for field in fields(one):
            assert getattr(one, field.name).equal(getattr(two, field.name))


@pytest.mark.parametrize('key', ['lr', 'max_grad_norm'])
@pytest.mark.parametrize('value', [0, -1., math.inf, math.nan])
def test_impossible_settings_are_errors(build, name, build_policy, key, value):
    with pytest.raises(
            ValueError, match=f'{name}: {key}={value} must be greater than 0'):
        build(build_policy(), **{key: value})


# -- does it learn? ------------------------------------------------------------


def test_single_feasible_subsets_teach_the_actor_nothing(
        build, build_policy, act):
    policy = build_policy()
    feasible = torch.zeros(4, 8, 16, dtype=torch.bool)
    feasible[..., 8] = True
    before = [p.clone() for p in policy.heads.action.parameters()]
    rollout = act(policy, torch.randn(4, 8, 8), feasible,
                  lambda actions: torch.randn(actions.shape))
    assert build(policy).update(rollout).entropy == 0
    for one, two in zip(before, policy.heads.action.parameters()):
        assert one.equal(two)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_improves_a_bandit(
        build, name, build_policy, make_states, act, seed):
    """The best of 15 subsets pays 1, the others 0.

    It is drawn once in 15 times at first, and by every learner more often than
    not after 6 updates.
    """
    torch.manual_seed(seed)
    policy = build_policy(horizon=1)
    # REINFORCE takes one step where the others take 16.
    learner = build(policy, lr=1e-2 if name == 'REINFORCE' else 3e-3)
    features = torch.zeros(1, 128, 8)
    feasible = (torch.arange(16) > 0).expand(1, 128, 16)
    for _ in range(12):
        learner.update(act(policy, features, feasible,
                           lambda actions: (actions == 6).float()))
    with torch.no_grad():
        logits, _ = policy.evaluate(make_states(features[:, :1]))
    assert SubsetDistribution(logits, feasible[:, :1]).probs[0, 0, 6] > 0.5
