"""Small policies and made-up episodes for learners."""

import copy
from functools import partial

import pytest
import torch

from mmrlkd.distillation.selection.environment import SubsetTree
from mmrlkd.registry import LEARNERS, POLICIES
from mmrlkd.rl import Gains, Rollout
from mmrlkd.structures import LevelSpace, State

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                   (2, 2, 2, 2), 8)


class NoMultiplier:
    """Cost is free."""

    def value(self):
        return torch.zeros(())

    def update(self, mean, variance, temperature):
        pass


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
def build_learner():

    def build(name, policy, space=SPACE, **kwargs):
        learner = LEARNERS.build(dict(type=f'mmrlkd.{name}', **kwargs))
        if learner.needs == 'gains':
            horizon = policy.encoder.step.num_embeddings
            tree = SubsetTree(space, horizon)
            learner.bind(policy, tree, torch.zeros(len(tree.outcomes)),
                         NoMultiplier())
        else:
            learner.bind(policy)
        return learner

    return build


@pytest.fixture
def build_ppo(build_learner):
    return partial(build_learner, 'PPO')


@pytest.fixture
def build_grpo(build_learner):
    return partial(build_learner, 'GRPO')


@pytest.fixture
def build_reinforce(build_learner):
    return partial(build_learner, 'REINFORCE')


@pytest.fixture
def make_states():
    """States (T, B) that show ``features`` (T, B, 8) and nothing else; by
    default, every subset but the empty one is allowed."""

    def make(features, allowed=None):
        steps, batch, _ = features.shape
        if allowed is None:
            allowed = (torch.arange(16) > 0).expand(steps, batch, 16)
        return State(
            global_feature=features,
            level_features=torch.zeros(steps, batch, 8),
            loss=torch.zeros(steps, batch),
            level_losses=torch.zeros(steps, batch, 4),
            selected=torch.zeros(steps, batch, 4, dtype=torch.bool),
            budget_left=torch.ones(steps, batch),
            step=torch.arange(steps)[:, None].expand(steps, batch),
            context=torch.zeros(steps, batch, 0),
            action_mask=allowed, batch_size=[steps, batch])

    return make


@pytest.fixture
def act(make_states):
    """Let a policy act on features; rewards are a function of the actions."""

    @torch.no_grad()
    def play(policy, features, feasible, reward):
        states = make_states(features, feasible)
        choice, values = policy.evaluate(states)
        actions = choice.sample()
        return Rollout(
            observation=states, action=actions,
            log_prob=choice.log_prob(actions), value=values,
            reward=reward(actions), batch_size=states.batch_size)

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
def gains_of(make_states):
    """Samples that show ``features`` (B, 8), with the gains (B, 15) of all
    subsets but the empty one."""

    def make(features, gain):
        known = make_states(features[None])[0]
        return Gains(known=known, gain=gain, weight=torch.ones(len(gain)),
                     batch_size=[len(gain)])

    return make


@pytest.fixture
def make_batch(make_rollout, gains_of):
    """What a learner of some name learns from; all numbers random."""

    def make(name, policy, episodes=12, horizon=4):
        if LEARNERS.get(name).needs == 'gains':
            return gains_of(torch.randn(episodes, 8),
                            torch.randn(episodes, 15))
        return make_rollout(policy, episodes, horizon)

    return make


@pytest.fixture
def twin():
    """A policy with the same weights."""
    return copy.deepcopy


@pytest.fixture
def pick():

    def pick(rollout, episodes):
        return rollout[:, episodes]

    return pick


@pytest.fixture
def same():
    """Whether nested containers hold the same numbers, bit for bit."""

    def same(one, two):
        if isinstance(one, dict):
            return one.keys() == two.keys() and all(
                same(one[key], two[key]) for key in one)
        if isinstance(one, (list, tuple)):
            return len(one) == len(two) and all(map(same, one, two))
        return (one.equal(two) if isinstance(one, torch.Tensor)
                else one == two)

    return same
