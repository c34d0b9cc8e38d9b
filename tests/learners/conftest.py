"""Small policies and made-up episodes for learners."""

import copy

import pytest
import torch

from mmrlkd.decision import SubsetDistribution
from mmrlkd.registry import LEARNERS, POLICIES
from mmrlkd.structures import LevelSpace, Rollout, State, map_tensors

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                   (2, 2, 2, 2), 8)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build_policy():

    def build(name='LSTMPolicy', horizon=4, hidden=16):
        policy = POLICIES.build(dict(
            type=f'mmrlkd.{name}', hidden=hidden, global_dim=8, level_dim=2))
        policy.bind(SPACE, horizon)
        return policy

    return build


@pytest.fixture
def build_ppo():

    def build(policy, **kwargs):
        learner = LEARNERS.build(dict(type='mmrlkd.PPO', **kwargs))
        learner.bind(policy)
        return learner

    return build


@pytest.fixture
def make_states():
    """States (T, B, …) that show ``features`` (T, B, 8) and nothing else."""

    def make(features):
        steps, batch, _ = features.shape
        return State(
            global_feature=features,
            level_features=torch.zeros(steps, batch, 8),
            loss=torch.zeros(steps, batch),
            selected=torch.zeros(steps, batch, 4, dtype=torch.bool),
            budget_left=torch.ones(steps, batch),
            step=torch.arange(steps)[:, None].expand(steps, batch))

    return make


@pytest.fixture
def act(make_states):
    """Let a policy act on features; rewards are a function of the actions."""

    @torch.no_grad()
    def play(policy, features, feasible, reward):
        states = make_states(features)
        logits, values = policy.evaluate(states)
        choice = SubsetDistribution(logits, feasible)
        actions = choice.sample()
        return Rollout(states, actions, feasible, choice.log_prob(actions),
                       values, reward(actions))

    return play


@pytest.fixture
def make_rollout(act):
    """Episodes on random features with random masks and rewards."""

    def make(policy, episodes=12, horizon=4):
        feasible = torch.rand(horizon, episodes, 16) < 0.5
        feasible[..., 15] = True
        return act(policy, torch.randn(horizon, episodes, 8), feasible,
                   lambda actions: torch.randn(actions.shape))

    return make


@pytest.fixture
def twin():
    """A policy with the same weights."""
    return copy.deepcopy


@pytest.fixture
def pick():

    def pick(rollout, episodes):
        return map_tensors(lambda field: field[:, episodes], rollout)

    return pick
