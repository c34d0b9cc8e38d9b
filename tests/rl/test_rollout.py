"""Storing episodes, and setting broken ones aside."""

import io
import math

import pytest
import torch

from mmrlkd.distillation.selection.environment import DecisionProcess, KnownLosses
from mmrlkd.rl import RolloutStorage, act, play, set_aside_broken
from mmrlkd.structures import State
from tests.rl.conftest import SPACE

CPU = torch.device('cpu')


def restored(fields):
    return State(**fields, batch_size=fields['step'].shape)


def tensors(rollout):
    """All tensors of a rollout by name."""
    flat = dict(rollout.to_dict())
    flat |= flat.pop('observation')
    return {name: tensor for name, tensor in flat.items() if tensor is not None}


def assert_same(one, two):
    for name, tensor in tensors(one).items():
        assert tensor.equal(tensors(two)[name]), name


@pytest.fixture
def rollouts(build_policy, make_rollout):
    policy = build_policy()
    return [make_rollout(policy, episodes) for episodes in (3, 1, 5)]


@pytest.fixture
def storage(rollouts):
    storage = RolloutStorage()
    for rollout in rollouts:
        storage.add(rollout)
    return storage


def test_episodes_lie_side_by_side(storage, rollouts):
    assert len(storage) == 3
    joined = storage.gather(CPU)
    assert joined.reward.shape == (4, 9)
    assert joined.observation.action_mask.shape == (4, 9, 16)
    assert_same(joined[:, torch.arange(3)], rollouts[0])
    assert_same(joined[:, torch.tensor([3])], rollouts[1])
    assert_same(joined[:, torch.arange(4, 9)], rollouts[2])


@pytest.mark.parametrize('explore', [True, False])
def test_acting_ends_where_playing_does(build_policy, explore):
    policy, ends = build_policy(), []
    process = DecisionProcess(SPACE, torch.randn(6, 8), torch.randn(6, 8),
                              KnownLosses(torch.rand(6, 4)), 4)
    for run in (play, act):
        torch.manual_seed(3)
        run(process, policy, explore)
        ends.append((process.state.selected, torch.rand(1)))
    assert all(map(torch.equal, *ends)) and ends[0][0].any()


def test_clear(storage):
    storage.clear()
    assert len(storage) == 0


def test_holds_no_graph(build_policy, make_rollout):
    rollout = make_rollout(build_policy())
    values = rollout.value.clone().requires_grad_() * 2
    storage = RolloutStorage()
    storage.add(rollout.replace(value=values))
    assert not storage.gather(CPU).value.requires_grad


def test_survives_a_file_of_plain_tensors(storage):
    file = io.BytesIO()
    torch.save(storage.state_dict(), file)
    file.seek(0)
    other = RolloutStorage()
    other.load_state_dict(torch.load(file, weights_only=True), restored)
    assert len(other) == 3
    assert_same(other.gather(CPU), storage.gather(CPU))


def test_loading_replaces(storage):
    storage.load_state_dict(RolloutStorage().state_dict(), restored)
    assert len(storage) == 0


def test_finite_episodes_are_left_alone(rollouts):
    kept, weight = set_aside_broken(rollouts[2])
    assert weight.tolist() == [1.] * 5
    assert_same(kept, rollouts[2])


@pytest.mark.parametrize('number', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('field', [
    'reward', 'value', 'log_prob', 'global_feature', 'level_features',
    'loss', 'level_losses', 'budget_left'])
def test_a_broken_episode_weighs_nothing_and_is_all_finite(
        rollouts, field, number):
    rollout = rollouts[2]
    tensors(rollout)[field][2, 3] = number
    kept, weight = set_aside_broken(rollout)
    assert weight.tolist() == [1., 1., 1., 0., 1.]
    for name, tensor in tensors(kept).items():
        assert tensor.isfinite().all(), name
    others = torch.tensor([0, 1, 2, 4])
    assert_same(kept[:, others], rollout[:, others])
