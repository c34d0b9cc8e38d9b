"""A mean cost is held, and what is gained for it is close to the most there is."""

from dataclasses import dataclass

import pytest
import torch

from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.distillation.selection.mean_cost import LagrangeMultiplier
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
        raise AssertionError('one step shows no losses')


@dataclass
class SumOfWorths:
    """A level that costs much gains much, and how much can be seen."""
    efficiency: float = 0.5
    needs_gradients: bool = False

    def gains(self, signals):
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


def train(mean_cost, iterations, rollout_batches=1, **settings):
    selector = SELECTORS.build(dict(
        type='mmrlkd.PolicySelector', policy=POLICY, horizon=1,
        rollout_batches=rollout_batches, mean_cost=mean_cost, **settings))
    selector.bind(SPACE)
    selector.reward = SumOfWorths()
    spent = []
    for iteration in range(iterations):
        selector.set_progress(iteration / iterations)
        features, worths = images(16)
        choice = selector.select(process(features))
        selector.observe(worths, choice)
        selector.learn()
        spent.append((choice.selection.levels * COSTS).sum(-1).mean())
    return selector, torch.stack(spent)


def process(features):
    return DecisionProcess(SPACE, features, torch.zeros(len(features), 12),
                           Losses(), 1)


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('mean_cost', [
    pytest.param(1.5, marks=pytest.mark.xfail(strict=False, reason=(
        'the policy may give up P2 for good while λ is still too high'))),
    4.])
def test_the_mean_cost_is_held_and_spent_well(seed, mean_cost):
    """Within 3 % after 150 batches of 16, at 97 % of the optimum for what is
    spent, and λ within 10 % of the knapsack's."""
    torch.manual_seed(seed)
    selector, spent = train(
        mean_cost, 150, learner=dict(type='mmrlkd.ExpectedReward'))
    # No long swings: the mean of every 40 batches after the first 30.
    for begin in range(30, 110, 20):
        assert spent[begin:begin + 40].mean() == pytest.approx(
            mean_cost, rel=0.15)
    features, worths = images(20000)
    selector.learning = False
    levels = selector.select(process(features)).selection.levels.float()
    cost = (levels @ COSTS).mean()
    assert cost == pytest.approx(mean_cost, rel=0.03)
    best, price = best_for(worths, cost)
    assert (levels * worths).sum(-1).mean() > 0.97 * best
    assert selector.multiplier.value() == pytest.approx(float(price), rel=0.1)


@pytest.fixture
def multiplier():

    def build(mean_cost=1.5, space=SPACE):
        multiplier = LagrangeMultiplier(0.5, mean_cost)
        multiplier.bind(space)
        return multiplier

    return build


def test_starts_where_the_best_subsets_would_cost_the_target(multiplier):
    found = multiplier()
    _, worths = images(4096)
    gains = (worths @ SUBSETS.T)[:, 1:]
    found.observe(gains, (SUBSETS @ COSTS / 7.5)[1:])
    assert found.value() == pytest.approx(
        float(best_for(worths, 1.5)[1]), rel=0.1)


def test_moves_only_when_told_a_cost(multiplier):
    """A warm-up in which the policy does not choose winds nothing up."""
    found = multiplier()
    shares = (SUBSETS @ COSTS / 7.5)[1:]
    for _ in range(20):
        found.observe((images(16)[1] @ SUBSETS.T)[:, 1:], shares)
    before = found.value().clone()
    found.observe((images(16)[1] @ SUBSETS.T)[:, 1:], shares)
    assert found.value().equal(before)
    found.update(torch.tensor(0.9))
    assert found.value() > before
    for _ in range(2000):
        found.update(torch.tensor(0.9))
    assert found.value() == found._most()  # and no further
    for _ in range(4000):
        found.update(torch.tensor(0.06))
    assert found.value() == 0


def test_a_broken_image_has_no_say(multiplier):
    found, other = multiplier(), multiplier()
    shares = (SUBSETS @ COSTS / 7.5)[1:]
    gains = (images(16)[1] @ SUBSETS.T)[:, 1:]
    found.observe(torch.cat([gains, torch.full((1, 15), torch.nan)]), shares)
    other.observe(gains, shares)
    assert found.value().equal(other.value())


def test_without_a_target_it_is_constant(multiplier):
    found = multiplier(None)
    found.observe(torch.rand(4, 15), torch.rand(15))
    found.update(torch.tensor(0.9))
    assert found.value() == 0.5


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
