"""Random levels cost on average what they were told to."""

from dataclasses import replace

import pytest
import torch

from mmrlkd.distillation.selection.environment import subset_costs


@pytest.mark.parametrize(('cost', 'budget'), [
    (0.5, 7.5), (1., 7.5), (4., 7.5), (7., 7.5), (7.5, 7.5), (1.5, 3.)])
def test_mean_cost(build, make_space, start, cost, budget):
    space = make_space(budget=budget)
    selector = build('RandomSelector', space, cost=cost)
    drawn = selector.select(start(selector, torch.randn(20_000, 5))).selection.levels
    costs = (drawn * torch.tensor(space.costs)).sum(-1)
    assert costs.max() <= budget
    # Four standard errors.
    assert costs.mean().item() == pytest.approx(
        cost, abs=1e-9 + 4 * costs.std().item() / 20_000**0.5)


def test_every_affordable_subset_is_drawn(build, make_space, start):
    selector = build('RandomSelector', make_space(), cost=4.)
    drawn = selector.select(start(selector, torch.randn(20_000, 5))).selection.levels
    assert len(drawn.unique(dim=0)) == 15


def test_the_plain_mean_needs_no_tilt(build, make_space, start):
    """4 = 15 subsets' mean cost: all are equally likely."""
    space = make_space()
    mean = subset_costs(space.costs)[1:].mean().item()
    selector = build('RandomSelector', space, cost=mean)
    drawn = selector.select(start(selector, torch.randn(30_000, 5))).selection.levels
    _, counts = drawn.unique(dim=0, return_counts=True)
    torch.testing.assert_close(
        counts / 30_000, torch.full((15, ), 1 / 15), rtol=0, atol=0.01)


def test_images_may_be_left_out(build, make_space, start):
    space = replace(make_space(), min_levels=0, normalize='none')
    selector = build('RandomSelector', space, cost=0.2)
    found = selector.select(start(selector, torch.randn(20_000, 5))).selection
    assert len(found.levels.unique(dim=0)) > 4
    assert not found.levels.any(-1).all()
    assert found.weights.equal(found.levels / 4)
    costs = (found.levels * torch.tensor(space.costs)).sum(-1)
    assert costs.mean().item() == pytest.approx(
        0.2, abs=4 * costs.std().item() / 20_000**0.5)


def test_one_level_leaves_one_choice(build, make_space, start):
    selector = build('RandomSelector', make_space(1), cost=2.)
    assert selector.select(start(selector, torch.randn(9, 5))).selection.levels.all()


@pytest.mark.parametrize(('cost', 'budget'), [
    (0.4, 7.5), (7.6, 7.5), (3.1, 3.), (-1., 7.5)])
def test_unreachable_costs_are_errors(build, make_space, cost, budget):
    with pytest.raises(
            ValueError, match=f"cost={cost} can't .* cost 0.5 to {budget}"):
        build('RandomSelector', make_space(budget=budget), cost=cost)
