"""A mean cost is held, and what is gained for it is close to the most there is."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.distillation.selection.mean_cost import (
    LagrangeMultiplier,
    PricedPolicy,
)
from mmrlkd.registry import SELECTORS
from mmrlkd.rl import subset_table
from mmrlkd.structures import LevelSpace

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                   (3, 3, 3, 3), 8)
COSTS = torch.tensor(SPACE.costs)
SUBSETS = subset_table(4, torch.device('cpu')).float()
POLICY = dict(type='mmrlkd.MLPPolicy', hidden=64, global_dim=8, level_dim=3)


class Losses:

    def compute(self, levels):
        return torch.ones(levels.shape) * levels

    def compute_all(self):
        return torch.ones(16, 4)


class SumOfWorths(torch.nn.Module):
    """A level that costs much gains much, and how much can be seen."""
    efficiency = 0.5
    needs_gradients = False
    descriptors = ()

    def gains(self, signals, update=False):
        return signals @ SUBSETS.T


def images(number):
    features = torch.randn(number, 8)
    return features, features[:, :4].exp() * torch.tensor([.5, .25, .15, .1])


def best_for(worths, cost):
    """The knapsack's relaxation: mean gain of the best subsets under the λ at
    which they cost ``cost`` on average, found by bisection."""
    gains, costs = (worths @ SUBSETS.T)[:, 1:], (SUBSETS @ COSTS)[1:]
    low, high = 0., 1e3
    for _ in range(60):
        middle = (low + high) / 2
        spent = costs[(gains - middle * costs).argmax(-1)].mean()
        low, high = (middle, high) if spent > cost else (low, middle)
    chosen = (gains - high * costs).argmax(-1)
    return gains.gather(1, chosen[:, None]).mean(), high * COSTS.sum()


def train(mean_cost, iterations, rollout_batches=1, shown=lambda i: 1.,
          learn_every=1, **settings):
    selector = SELECTORS.build(dict(
        type='mmrlkd.PolicySelector', policy=POLICY, horizon=1,
        rollout_batches=rollout_batches, mean_cost=mean_cost, **settings))
    selector.bind(SPACE)
    selector.reward = SumOfWorths()
    spent = []
    for iteration in range(iterations):
        selector.set_progress(iteration / iterations)
        features, worths = images(16)
        selector.learning = iteration % learn_every == 0
        choice = selector.select(process(features * shown(iteration)))
        selector.spend(choice)
        if selector.learning:
            selector.observe(worths, choice)
            selector.learn()
        spent.append((choice.selection.levels * COSTS).sum(-1).mean())
    return selector, torch.stack(spent)


def process(features):
    return DecisionProcess(SPACE, features, torch.zeros(len(features), 12),
                           Losses(), 1)


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('mean_cost', [1.5, 4.])
def test_the_mean_cost_is_held_and_spent_well(seed, mean_cost):
    """Within 8 % on unseen images after 150 batches of 16, at 97 % of the
    optimum for what is spent, which the knapsack's relaxation tells."""
    torch.manual_seed(seed)
    selector, spent = train(
        mean_cost, 150, learner=dict(type='mmrlkd.ExpectedReward'))
    # No long swings: the mean of every 40 batches after the first 10.
    for begin in range(10, 110, 20):
        assert spent[begin:begin + 40].mean() == pytest.approx(
            mean_cost, rel=0.1)
    features, worths = images(20000)
    selector.learning = False
    levels = selector.select(process(features)).selection.levels.float()
    cost = (levels @ COSTS).mean()
    assert cost == pytest.approx(mean_cost, rel=0.08)
    best, _ = best_for(worths, cost)
    assert (levels * worths).sum(-1).mean() > 0.97 * best


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('mean_cost', [1., 2.])
def test_the_mean_is_that_of_images_as_they_are_shown_now(seed, mean_cost):
    """The student changes, and what is kept to learn from shows it as it was:
    by the cost of what is kept alone, the mean is 16 to 22 % below."""
    torch.manual_seed(seed)
    _, spent = train(
        mean_cost, 360, learn_every=5, shown=lambda i: 1 / (1 + i / 120),
        learner=dict(type='mmrlkd.ExpectedReward'))
    assert spent[200:].mean() == pytest.approx(mean_cost, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(('learner', 'settings'), [
    ('PPO', dict(epochs=2, minibatches=2)),
    ('GRPO', dict(epochs=2, minibatches=2)), ('REINFORCE', {})])
def test_learners_of_episodes_hold_it_too(learner, settings):
    torch.manual_seed(0)
    _, spent = train(1.5, 300, rollout_batches=2,
                     learner=dict(type=f'mmrlkd.{learner}', **settings))
    assert spent[150:].mean() == pytest.approx(1.5, rel=0.1)


@pytest.mark.slow
def test_two_ranks_have_one_price(tmp_path):
    """What is spent is that of the images of both, be they 16 and 4."""
    processes = [subprocess.Popen(
        [sys.executable, Path(__file__).with_name('ranks.py'), str(rank),
         tmp_path]) for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (torch.load(tmp_path / f'{rank}.out') for rank in range(2))
    for name in 'ExpectedReward', 'PPO':
        assert first[name]['price'] > 0
        for key, value in first[name].items():
            assert value.equal(second[name][key]), (name, key)
    actions, rewards = (torch.cat([each['episodes'][key] for each in (
        first, second)]) for key in ('action', 'reward'))
    costs = (SUBSETS @ COSTS / COSTS.sum())[actions]
    assert len(costs) == 20
    for each in first, second:
        torch.testing.assert_close(each['spent'], (
            costs.mean(), costs.var(correction=0), rewards.std(correction=0)))


@pytest.fixture
def multiplier():

    def build(mean_cost=1.5, space=SPACE):
        multiplier = LagrangeMultiplier(0.5, mean_cost)
        multiplier.bind(space)
        return multiplier

    return build


def tell(multiplier, mean, variance=0.05, temperature=0.1):
    multiplier.update(*map(torch.tensor, (mean, variance, temperature)))


def test_newtons_steps_meet_the_target(multiplier):
    """Where the cost answers as its variance says."""
    found = multiplier()
    logits = 0.01 * torch.randn(15)
    shares = (SUBSETS @ COSTS / 7.5)[1:]

    def spent():
        probs = (logits - found.price * shares).softmax(-1)
        mean = probs @ shares
        return mean, probs @ shares.square() - mean.square()

    for _ in range(60):
        tell(found, *(each.item() for each in spent()))
    assert spent()[0] == pytest.approx(1.5 / 7.5, rel=1e-3)
    assert found.value() == pytest.approx(0.1 * found.price.item())


def test_the_price_is_never_negative_and_its_steps_are_bounded(multiplier):
    found = multiplier()
    tell(found, 0.9, variance=0.)
    assert found.price == 0.25
    for _ in range(3):
        tell(found, 0., variance=0.)
    assert found.price == 0


def test_the_policy_pays_the_price(multiplier):
    found = multiplier(4.)
    for _ in range(3):
        tell(found, 1., variance=0.)
    selector, _ = train(4., 1)
    features, _ = images(5)
    state = process(features).state
    choice, value, _ = selector.policy(state, ())
    paid, same, _ = PricedPolicy(selector.policy, found)(state, ())
    torch.testing.assert_close(
        paid.logits, choice.logits - found.price * COSTS / COSTS.sum())
    assert same.equal(value)


def test_the_target_is_corrected_by_what_was_spent(multiplier):
    found = multiplier()  # 0.2 of all levels
    found.correct(torch.tensor(0.1))
    assert found.correction == 0  # free already
    tell(found, 0.9)
    for _ in range(2):
        found.correct(torch.tensor(0.15))
    torch.testing.assert_close(found.correction, torch.tensor(0.02))
    found.correct(torch.tensor(float('nan')))  # nothing was distilled
    torch.testing.assert_close(found.correction, torch.tensor(0.02))
    before = found.price.clone()
    tell(found, 0.22)  # what it should cost now
    torch.testing.assert_close(found.price, before)
    for _ in range(20):
        found.correct(torch.tensor(0.))
    torch.testing.assert_close(found.correction, torch.tensor(0.1))
    other = multiplier()
    other.load_run_state(found.run_state())
    assert other.correction.equal(found.correction)


@pytest.mark.parametrize('control', [False, True])
def test_what_was_spent_since_is_resumed(control):
    def build():
        policy = dict(
            type='mmrlkd.PolicySelector', policy=POLICY, horizon=1,
            rollout_batches=1, mean_cost=1.5,
            learner=dict(type='mmrlkd.ExpectedReward'))
        selector = SELECTORS.build(dict(
            type='mmrlkd.ControlSelector', selector=policy)
            if control else policy)
        selector.bind(SPACE)
        (selector.selector if control else selector).reward = SumOfWorths()
        return selector

    one, two = build(), build()
    one.learning = False
    features, worths = images(16)
    one.spend(one.select(process(features)))
    two.load_run_state(one.run_state())
    two.load_local_run_state(one.local_run_state())
    corrections = []
    for each in one, two:
        each.learning = True
        torch.manual_seed(0)
        each.observe(worths, each.select(process(features)))
        each.learn()
        policy = each.selector if control else each
        corrections.append(policy.multiplier.correction)
    assert corrections[0].equal(corrections[1])
    assert corrections[0] < 0  # half of all levels were drawn


def test_resumes_where_it_was(multiplier):
    found, other = multiplier(), multiplier()
    tell(found, 0.9)
    other.load_run_state(found.run_state())
    tell(found, 0.8)
    tell(other, 0.8)
    assert found.value().equal(other.value())
    assert found.price.equal(other.price)


def test_without_a_target_it_is_constant(multiplier):
    found = multiplier(None)
    tell(found, 0.9)
    assert found.value() == 0.5
    assert found.price == 0


@pytest.mark.parametrize('mean_cost', [0.4, 7.6, -1., float('nan')])
def test_impossible_mean_costs_are_errors(multiplier, mean_cost):
    with pytest.raises(ValueError, match='model.selector.mean_cost'):
        multiplier(mean_cost)


def test_a_given_multiplier_is_refused_beside_a_mean_cost():
    with pytest.raises(ValueError, match=(
            r'model.selector.reward.efficiency=0.5; accepted: none beside '
            r'model.selector.mean_cost=1.5')):
        SELECTORS.build(dict(
            type='mmrlkd.PolicySelector', mean_cost=1.5,
            reward=dict(type='mmrlkd.ResidualReward', efficiency=0.5)))


def test_the_critic_starts_no_worse_than_a_constant():
    """Rewards have no constant part and values start near 0."""
    selector, _ = train(None, 3, rollout_batches=4,
                        learner=dict(type='mmrlkd.PPO'))
    features, worths = images(16)
    selector.observe(worths, selector.select(process(features)))
    assert selector.learn().explained_variance > -0.5
