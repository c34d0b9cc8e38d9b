"""Rewards: what holds for all, then each one's known answers."""

import math

import pytest
import torch

from mmrlkd.registry import REWARDS

ALL = ['AlignmentReward', 'LookaheadReward', 'PaperLiteralReward', 'ResidualReward']


class FixedEvidence:
    """Evidence of given numbers; a step removes 40 % of what it covers."""

    def __init__(self, losses, products=None):
        self.losses = losses
        self.products = losses if products is None else products
        self.asked = []

    def discrepancy(self):
        self.asked.append('discrepancy')
        return self.losses

    def alignment(self):
        self.asked.append('alignment')
        return self.products

    def after_step(self, levels, step):
        self.asked.append('after_step')
        covered = self.losses.where(levels, 0.).sum(-1)
        return 1 - 4 * step * covered / self.losses.sum(-1).clamp(min=1e-9)


def build(name, **kwargs):
    return REWARDS.build(dict(type=f'mmrlkd.{name}', **kwargs))


def random_path(steps, batch, levels):
    """(T + 1, B, L): nothing, then ever more."""
    drawn = torch.rand(steps, batch, levels) < 0.4
    nothing = torch.zeros(1, batch, levels, dtype=torch.bool)
    return torch.cat([nothing, drawn.int().cummax(0).values.bool()])


COSTS = {1: [2.], 2: [2., 1.], 4: [4., 2., 1., .5], 6: [3., 2., 2., 1., 1., 1.]}


@pytest.mark.parametrize('levels', COSTS)
@pytest.mark.parametrize('batch', [1, 7])
@pytest.mark.parametrize('steps', [1, 4])
@pytest.mark.parametrize('name', ALL)
class TestEveryReward:

    def test_gains_telescope(self, name, steps, batch, levels):
        """With λ = 0 the rewards are ΔL and sum to the first minus the last."""
        reward = build(name, efficiency=0.)
        path = random_path(steps, batch, levels)
        evidence = FixedEvidence(
            torch.rand(batch, levels), torch.randn(batch, levels))
        rewards = reward(path, torch.tensor(COSTS[levels]), evidence)
        assert rewards.shape == (steps, batch)
        left = torch.stack([reward.potential(each, evidence) for each in path])
        assert left.shape == (steps + 1, batch)
        torch.testing.assert_close(rewards, left[:-1] - left[1:])
        torch.testing.assert_close(rewards.sum(0), left[0] - left[-1])

    def test_saved_cost_counts_a_level_once(self, name, steps, batch, levels):
        """Over an episode: T minus the final selection's share of the cost."""
        costs = torch.tensor(COSTS[levels])
        path = random_path(steps, batch, levels)
        evidence = FixedEvidence(torch.rand(batch, levels))
        quality = build(name, efficiency=0.)(path, costs, evidence)
        for efficiency in (0.5, 1.):
            rewards = build(name, efficiency=efficiency)(path, costs, evidence)
            saved = (rewards * (1 + efficiency) - quality).sum(0) / efficiency
            spent = (path[-1] * costs).sum(-1) / costs.sum()
            torch.testing.assert_close(saved, steps - spent)

    def test_finite_without_any_loss(self, name, steps, batch, levels):
        path = random_path(steps, batch, levels)
        evidence = FixedEvidence(torch.zeros(batch, levels))
        rewards = build(name)(path, torch.tensor(COSTS[levels]), evidence)
        assert rewards.isfinite().all()

    def test_several_episodes_of_each_image(self, name, steps, batch, levels):
        """(T + 1, G, B, L): the evidence of an image counts for all its
        episodes, each of which is rewarded as if it were alone."""
        reward, costs = build(name), torch.tensor(COSTS[levels])
        paths = [random_path(steps, batch, levels) for _ in range(3)]
        evidence = FixedEvidence(
            torch.rand(batch, levels), torch.randn(batch, levels))
        rewards = reward(torch.stack(paths, 1), costs, evidence)
        assert rewards.shape == (steps, 3, batch)
        for g, path in enumerate(paths):
            torch.testing.assert_close(
                rewards[:, g], reward(path, costs, evidence))

    def test_all_steps_at_once_or_one_by_one(self, name, steps, batch, levels):
        reward = build(name)
        path = random_path(steps, batch, levels)
        evidence = FixedEvidence(torch.rand(batch, levels))
        torch.testing.assert_close(
            reward.potential(path, evidence),
            torch.stack([reward.potential(each, evidence) for each in path]))


@pytest.mark.parametrize('name', ALL)
def test_broken_evidence_shows_in_its_own_episode_only(name):
    losses = torch.rand(3, 4)
    losses[1, 2] = math.nan
    rewards = build(name)(
        torch.tensor([[[False] * 4] * 3, [[True] * 4] * 3]),
        torch.tensor(COSTS[4]), FixedEvidence(losses))
    assert rewards.isfinite().tolist() == [[True, False, True]]


@pytest.mark.parametrize('name', ALL)
def test_negative_efficiency_is_an_error(name):
    for efficiency in (-0.1, math.nan):
        with pytest.raises(ValueError, match=(
                f'{name}: efficiency={efficiency}; accepted: a number >= 0')):
            build(name, efficiency=efficiency)


@pytest.mark.parametrize(('name', 'asked', 'needs_gradients'), [
    ('AlignmentReward', 'alignment', True),
    ('LookaheadReward', 'after_step', True),
    ('PaperLiteralReward', 'discrepancy', False),
    ('ResidualReward', 'discrepancy', False),
])
def test_asks_for_one_kind_of_evidence(name, asked, needs_gradients):
    reward, evidence = build(name), FixedEvidence(torch.rand(3, 4))
    reward(random_path(4, 3, 4), torch.tensor(COSTS[4]), evidence)
    assert set(evidence.asked) == {asked}
    assert reward.needs_gradients == needs_gradients


LOSSES = torch.tensor([[1., 2., 3., 4.]])
P2_P5 = torch.tensor([[True, False, False, True]])


def test_residual_is_the_share_not_covered():
    potential = build('ResidualReward').potential
    evidence = FixedEvidence(LOSSES)
    assert potential(torch.zeros_like(P2_P5), evidence).tolist() == [1.]
    assert potential(P2_P5, evidence).tolist() == [0.5]
    assert potential(torch.ones_like(P2_P5), evidence).tolist() == [0.]


def test_residual_rewards_sum_to_the_covered_share():
    path = random_path(4, 7, 4)
    losses = torch.rand(7, 4)
    rewards = build('ResidualReward', efficiency=0.)(
        path, torch.ones(4), FixedEvidence(losses))
    covered = losses.where(path[-1], 0.).sum(-1) / losses.sum(-1)
    torch.testing.assert_close(rewards.sum(0), covered)


def test_alignment_rewards_what_helps_the_task():
    products = torch.tensor([[3., -1., 0., 4.]])
    potential = build('AlignmentReward').potential
    evidence = FixedEvidence(LOSSES, products)
    assert potential(P2_P5, evidence).tolist() == [-7 / 8]
    assert potential(~P2_P5, evidence).tolist() == [1 / 8]


def test_lookahead_passes_its_step_on():
    reward = build('LookaheadReward', step=0.05)
    assert reward.potential(P2_P5, FixedEvidence(LOSSES)).tolist() == (
        pytest.approx([1 - 4 * 0.05 * 0.5]))
    with pytest.raises(ValueError, match='step=0; accepted: a number > 0'):
        build('LookaheadReward', step=0)


def test_paper_literal_punishes_every_level():
    """Why the draft's reward collapses: no level ever raises it."""
    reward = build('PaperLiteralReward', efficiency=0.)
    evidence = FixedEvidence(LOSSES)
    assert reward.potential(P2_P5, evidence).tolist() == [5.]
    rewards = reward(random_path(4, 1, 4), torch.ones(4), evidence)
    assert (rewards <= 0).all()


def test_a_step_by_hand():
    """P5 added: ΔL = 4/10, saved = 1 − 0.5/7.5, λ = 0.5."""
    path = torch.tensor([[[False] * 4], [[False, False, False, True]]])
    reward = build('ResidualReward')(
        path, torch.tensor(COSTS[4]), FixedEvidence(LOSSES))
    assert reward.item() == pytest.approx((0.4 + 0.5 * (1 - 0.5 / 7.5)) / 1.5)
