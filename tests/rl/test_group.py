"""Advantages within a group, by hand."""

import pytest
import torch
from mmrlkd.learners import group_advantages


def advantages(groups, broken=(), eps=1e-4, scale_by_std=True):
    """Of a list of groups; ``broken`` holds (group, episode)."""
    returns = torch.tensor(groups)
    weight = torch.ones_like(returns)
    for cell in broken:
        weight[cell] = 0.
    found, tied = group_advantages(
        returns.flatten(), weight.flatten(), returns.shape[1], eps,
        scale_by_std)
    return found.view_as(returns), tied.tolist()


def test_by_hand():
    """Mean 3; squared deviations 4 + 1 + 0 + 9 over 3."""
    plain, tied = advantages([[1., 2., 3., 6.]], scale_by_std=False)
    assert plain.tolist() == [[-2., -1., 0., 3.]]
    assert tied == [False]
    scaled, _ = advantages([[1., 2., 3., 6.]])
    torch.testing.assert_close(
        scaled, plain / ((14 / 3)**0.5 + 1e-4), rtol=1e-6, atol=0)


def test_groups_do_not_mix():
    """Images differ in how hard they are, which no advantage must measure."""
    found, _ = advantages([[0., 1.], [100., 101.]], scale_by_std=False)
    assert found.tolist() == [[-0.5, 0.5], [-0.5, 0.5]]


@pytest.mark.parametrize('scale_by_std', [True, False])
@pytest.mark.parametrize('reward', [0., 0.1, 2., -1e6])
def test_ties_teach_exactly_nothing(reward, scale_by_std):
    """The mean of 0.1, 0.1 and 0.1 need not be 0.1."""
    found, tied = advantages(
        [[reward] * 3, [0., 0., 1.]], scale_by_std=scale_by_std)
    assert found[0].tolist() == [0., 0., 0.]
    assert found[1].ne(0).all()
    assert tied == [True, False]


def test_ties_but_for_rounding_are_ties():
    """The same levels in another order: the same reward up to rounding."""
    found, tied = advantages([[0.7 + 0.2 + 0.1, 0.1 + 0.2 + 0.7, 1. + 1e-7]],
                             eps=1e-12)
    assert found.tolist() == [[0., 0., 0.]]
    assert tied == [True]


@pytest.mark.parametrize(('eps', 'size'), [(1e-8, 0.707), (1e-1, 0.005)])
def test_eps_decides_about_near_ties(eps, size):
    found, tied = advantages([[1., 1.001]], eps=eps)
    assert found[0].tolist() == pytest.approx([-size, size], rel=0.02)
    assert tied == [False]


@pytest.mark.parametrize('scale_by_std', [True, False])
def test_the_broken_are_left_out_of_their_group(scale_by_std):
    found, tied = advantages(
        [[1., 0., 2., 6.], [0., 0., 1., 0.], [5., 0., 0., 0.],
         [0., 0., 0., 0.]],
        broken=[(0, 1), (1, 2), *((2, i) for i in (1, 2, 3)),
                *((3, i) for i in range(4))], scale_by_std=scale_by_std)
    without, _ = advantages([[1., 2., 6.]], scale_by_std=scale_by_std)
    assert found[0, [0, 2, 3]].tolist() == without[0].tolist()
    assert found[0, 1] == 0
    # What is left of the others is a tie, one episode, none.
    assert not found[1:].any()
    assert tied == [False, True, True, True]
