"""The best loss per cost, until it stops paying."""

from dataclasses import replace

import pytest
import torch

from mmrlkd.distillation.selection.environment import subset_costs
from mmrlkd.distillation.selection.rewards import ResidualReward


class KnownLosses:
    """Losses (B, L) without gradient; to ask for others would be dear."""

    def __init__(self, losses, unit):
        self.losses = losses
        self.unit = unit

    def compute_shares(self):
        return self.losses / self.unit


def chosen(build, start, space, losses, unit=15., **kwargs):
    """``unit``: what all levels together lose on average."""
    losses = torch.tensor(losses)
    selector = build('GreedySelector', space, **kwargs)
    found = selector.select(start(
        selector, torch.zeros(len(losses), 5), KnownLosses(losses, unit))).selection
    return found.levels.long().tolist()


def test_offers_by_hand(build, start, make_space):
    # Costs 4, 2, 1, .5 of 7.5: cost shares 8/15, 4/15, 2/15, 1/15.
    losses = [
        [8., 4., 2., 1.],   # all offers are 1
        [15., 0., 0., 0.],  # P2 offers 15/8, the others nothing
        [0., 0., 0., 15.],  # P5 offers 15
        [6., 1., 2., 6.],   # offers .75, .25, 1, 6
    ]
    space = make_space()
    assert chosen(build, start, space, losses) == [
        [1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]]
    assert chosen(build, start, space, losses, efficiency=0.) == [
        [1, 1, 1, 1]] * 4
    # An image that loses ten times as much is distilled at more levels.
    assert chosen(build, start, space, losses[3:], unit=150.) == [[0, 0, 0, 1]]
    # Nothing pays: what loses least is taken all the same.
    assert chosen(build, start, space, losses[1:], efficiency=100.) == [
        [0, 0, 0, 1]] * 3
    assert chosen(build, start, space, losses[1:], efficiency=2.) == [
        [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_what_is_too_dear_is_passed_over(build, start, make_space):
    space = make_space(budget=2.5)
    losses = [[100., 6., 2., 6.], [100., 0., 0., 0.]]
    assert chosen(build, start, space, losses, efficiency=0.) == [
        [0, 1, 0, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize('efficiency', [0.3, 0.5, 1.])
def test_it_is_the_optimum_of_the_residual_reward(
        build, start, make_space, make_signals, efficiency):
    """Losses and costs add up, so greed is not short-sighted."""
    space = make_space()
    losses = torch.rand(50, 4)
    found = torch.tensor(chosen(
        build, start, space, losses.tolist(), losses.sum(-1).mean(),
        efficiency=efficiency)).bool()
    reward, signals = ResidualReward(), make_signals(losses)
    reward.gains(signals, update=True)
    costs = subset_costs(space.costs)
    worth = reward.gains(signals) - efficiency * costs / costs[-1]
    index = (found << torch.arange(4)).sum(-1, keepdim=True)
    torch.testing.assert_close(
        worth.gather(1, index)[:, 0], worth[:, 1:].amax(1))


def test_an_image_that_nothing_pays_for_may_be_left_out(
        build, start, make_space):
    losses = [[0.3, 0.3, 0.3, 0.3], [0.3, 0.3, 0.3, 15.]]
    space = make_space()
    assert chosen(build, start, space, losses) == [[0, 0, 0, 1]] * 2
    space = replace(space, min_levels=0)
    assert chosen(build, start, space, losses) == [[0] * 4, [0, 0, 0, 1]]


def test_losses_that_are_no_numbers_count_nothing(
        build, start, make_space):
    nan = float('nan')
    assert chosen(build, start, make_space(), [
        [nan, nan, nan, nan], [nan, 1., 1., 1.]], unit=3.) == [
            [0, 0, 0, 1], [0, 1, 1, 1]]


def test_a_negative_efficiency_is_refused(build, make_space):
    with pytest.raises(ValueError, match='efficiency=-1; accepted: a number >= 0'):
        build('GreedySelector', make_space(), efficiency=-1)
