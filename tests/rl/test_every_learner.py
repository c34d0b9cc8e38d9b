"""What holds for every registered learner."""

import copy
import io
import math
from dataclasses import fields, replace

import pytest
import torch

from mmrlkd import rl  # noqa: F401  (registers the members)
from mmrlkd.registry import LEARNERS
from mmrlkd.rl import Gains
from mmrlkd.structures import LevelSpace, State

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                   (2, 2, 2, 2), 8)
ALL = sorted(name for name, member in LEARNERS.module_dict.items()
             if member.__module__.startswith('mmrlkd.rl.algorithms'))


@pytest.fixture(params=ALL)
def name(request):
    return request.param


@pytest.fixture
def build(build_learner, name):
    return lambda policy, **kwargs: build_learner(name, policy, **kwargs)


@pytest.fixture
def make(make_batch, name):
    return lambda policy, *args, **kwargs: make_batch(
        name, policy, *args, **kwargs)


def earned(batch):
    """What episodes were rewarded with (T, B), or the outcomes gain (B, S)."""
    return batch.gain if isinstance(batch, Gains) else batch.reward


def put(batch, field, step, episodes, number):
    """Write a number into episodes: at a step or, where there is none, for an
    outcome."""
    if isinstance(batch, Gains) and field == 'reward':
        batch.gain[episodes, step] = number
    elif isinstance(batch, Gains):
        getattr(batch.known, field)[episodes] = number
    else:
        holder = batch if field in ('reward', 'value') else batch.observation
        getattr(holder, field)[step, episodes] = number


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


def test_the_family_is_complete():
    assert set(ALL) >= {'ExpectedReward', 'GRPO', 'PPO', 'REINFORCE'}


def test_diagnostics_are_scalars_without_a_graph(
        build, build_policy, make):
    policy = build_policy()
    found = build(policy).update(make(policy))
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
        build, build_policy, make, policy_name, horizon):
    policy = build_policy(policy_name, horizon)
    learner = build(policy)
    for episodes in (12, 4, 8):  # their number may change
        before = weights(policy)
        found = learner.update(make(policy, episodes, horizon))
        assert found.skipped_steps == 0
        assert found.dropped_episodes == 0
        assert weights(policy).isfinite().all()
        assert not weights(policy).equal(before)


@pytest.mark.parametrize('size', [0., 1e6, 1e30])
def test_rewards_of_any_size_leave_the_policy_finite(
        build, build_policy, make, size):
    policy = build_policy()
    learner = build(policy)
    rollout = make(policy)
    earned(rollout).mul_(size)
    for _ in range(2):
        learner.update(rollout)
    assert weights(policy).isfinite().all()
    # What was too large to learn from is not remembered either.
    assert learner.update(make(policy)).skipped_steps == 0
    assert weights(policy).isfinite().all()


# -- broken episodes -----------------------------------------------------------


@pytest.mark.parametrize('field', ['reward', 'value', 'loss'])
@pytest.mark.parametrize('number', [math.nan, math.inf])
def test_broken_episodes_have_no_say(
        build, build_policy, make, twin, field, number):
    """Whatever stands in them, the update is the same."""
    policy = build_policy()
    other = twin(policy)
    rollout = make(policy)
    if isinstance(rollout, Gains) and field == 'value':
        pytest.skip('there is no critic')
    put(rollout, field, 1, 4, number)
    put(rollout, field, 3, 7, number)
    torch.manual_seed(0)
    found = build(policy).update(rollout)
    put(rollout, 'reward', 0, [4, 7], 1e3)
    put(rollout, 'global_feature', 0, [4, 7], 1e3)
    torch.manual_seed(0)
    expected = build(other).update(rollout)
    assert weights(policy).isfinite().all()
    assert weights(policy).equal(weights(other))
    assert found.dropped_episodes == expected.dropped_episodes == 2
    assert all(getattr(found, f.name).isfinite() for f in fields(found))


def test_nothing_but_broken_episodes_leaves_all_as_it_was(
        build, name, build_policy, make, same):
    policy = build_policy()
    # Samples that are kept would teach all the same.
    learner = build(policy, **(
        dict(replay=1) if LEARNERS.get(name).needs == 'gains' else {}))
    learner.update(make(policy))  # gives Adam some momentum
    before = weights(policy)
    state = copy.deepcopy(learner.state_dict())
    rollout = make(policy, episodes=8)
    earned(rollout)[:] = math.nan
    found = learner.update(rollout)
    assert weights(policy).equal(before)
    assert found.dropped_episodes == 8
    assert found.skipped_steps > 0
    assert same(state, learner.state_dict())


# -- schedule and state --------------------------------------------------------


def test_learning_rate_decays_linearly(build, build_policy, make):
    policy = build_policy()
    learner = build(policy, lr=1e-3)
    for fraction, lr in ((0., 1e-3), (0.25, 7.5e-4), (1., 0.)):
        learner.set_progress(fraction)
        assert learner.optimizer.param_groups[0]['lr'] == pytest.approx(lr)
    before = weights(policy)
    learner.update(make(policy))
    assert weights(policy).equal(before)


def test_optimizer_is_the_reference_implementations(build, build_policy):
    group = build(build_policy(), lr=3e-4).optimizer.param_groups[0]
    assert (group['lr'], group['eps']) == (3e-4, 1e-5)
    assert group['betas'] == (0.9, 0.999)


def test_resumes_bit_for_bit(build, build_policy, make):
    policy = build_policy()
    learner = build(policy)
    rollouts = [make(policy) for _ in range(4)]
    learner.update(rollouts[0])
    learner.update(rollouts[1])
    learner.set_progress(0.5)
    file = io.BytesIO()
    torch.save(dict(policy=policy.state_dict(), learner=learner.state_dict(),
                    local=learner.local_state_dict(),
                    rng=torch.get_rng_state()), file)
    file.seek(0)
    expected = [learner.update(rollout) for rollout in rollouts[2:]]

    saved = torch.load(file, weights_only=True)
    other = build_policy()
    resumed = build(other)
    other.load_state_dict(saved['policy'])
    resumed.load_state_dict(saved['learner'])
    resumed.load_local_state_dict(saved['local'], lambda plain: State(
        **plain, batch_size=plain['step'].shape))
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
            ValueError, match=f'{name}: {key}={value}; accepted: a number > 0'):
        build(build_policy(), **{key: value})


# -- does it learn? ------------------------------------------------------------


def test_single_feasible_subsets_teach_the_actor_nothing(
        build, name, build_policy, act, gains_of):
    policy = build_policy()
    feasible = torch.zeros(4, 8, 16, dtype=torch.bool)
    feasible[..., 8] = True
    before = [p.clone() for p in policy.heads.action.parameters()]
    if LEARNERS.get(name).needs == 'gains':
        learner = build(policy, space=replace(SPACE, budget=0.5))
        batch = gains_of(torch.randn(8, 8), torch.randn(8, 1))
    else:
        learner = build(policy)
        batch = act(policy, torch.randn(4, 8, 8), feasible,
                    lambda actions: torch.randn(actions.shape))
    assert learner.update(batch).entropy == 0
    for one, two in zip(before, policy.heads.action.parameters()):
        assert one.equal(two)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_improves_a_bandit(
        build, name, build_policy, make_states, act, gains_of, seed):
    """The best of 15 subsets pays 1, the others 0.

    It is drawn once in 15 times at first, and by every learner more often than
    not after 6 updates.
    """
    torch.manual_seed(seed)
    policy = build_policy(horizon=1)
    # REINFORCE takes one step where the others take 8 or 16.
    learner = build(policy, lr=1e-2 if name == 'REINFORCE' else 3e-3)
    features = torch.zeros(1, 128, 8)
    feasible = (torch.arange(16) > 0).expand(1, 128, 16)
    pays = torch.arange(1, 16) == 6
    for _ in range(12):
        learner.update(
            gains_of(features[0], pays.float().expand(128, 15))
            if learner.needs == 'gains' else
            act(policy, features, feasible,
                lambda actions: (actions == 6).float()))
    with torch.no_grad():
        choice, _ = policy.evaluate(make_states(features[:, :1]))
    assert choice.probs[0, 0, 6] > 0.5
