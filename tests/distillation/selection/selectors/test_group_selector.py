"""Levels by group of images: whose they are, and how often they are drawn."""

import pytest
import torch

ONE_OR_OTHER = dict(
    descriptor='objects', edges=[10.5], rates=[[0, 0, 0, 1], [1, 0, 0, 0]])


def shown(*objects):
    """Features whose first number is what a state shows of the counts."""
    features = torch.zeros(len(objects), 5)
    features[:, 0] = torch.tensor(objects).float().log1p()
    return features


def test_the_fine_level_for_many_objects(build, make_space, start):
    selector = build('GroupSelector', make_space(), **ONE_OR_OTHER)
    choice = selector.select(start(selector, shown(0, 3, 10, 11, 40)))
    coarse, fine = [False] * 3 + [True], [True] + [False] * 3
    assert choice.selection.levels.tolist() == [coarse] * 3 + [fine] * 2
    assert choice.selection.weights.equal(choice.selection.levels.float())


def test_an_edge_belongs_to_the_group_below(build, make_space, start):
    selector = build(
        'GroupSelector', make_space(2), descriptor='objects', edges=[1, 4],
        rates=[[1, 0], [0, 1], [1, 1]])
    levels = selector.select(
        start(selector, shown(0, 1, 2, 4, 5))).selection.levels
    assert levels.int().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]]


def test_one_group_needs_no_edge(build, make_space, start):
    selector = build('GroupSelector', make_space(2), descriptor='objects',
                     edges=[], rates=[[0, 1]])
    assert selector.select(start(selector, shown(0, 9))).selection.levels.equal(
        torch.tensor([[False, True]] * 2))


def test_rates_are_kept_by_group_and_level_independently(
        build, make_space, start):
    rates = torch.tensor([[.2, .5, .9, 1.], [1., .7, .1, .4]])
    selector = build('GroupSelector', make_space(), descriptor='objects',
                     edges=[5], rates=rates.tolist())
    n = 20_000
    levels = selector.select(start(
        selector, shown(*[2, 8] * n))).selection.levels.float()
    for group, expected in enumerate(rates):
        drawn = levels[group::2]
        # Four standard errors.
        error = 4 * (expected * (1 - expected) / n).sqrt() + 1e-6
        assert ((drawn.mean(0) - expected).abs() <= error).all()
        spread = (expected * (1 - expected)).sqrt()
        covariance = torch.cov(drawn.T, correction=0)
        off = ~torch.eye(4, dtype=torch.bool)
        limit = 4 * spread[:, None] * spread / n**0.5 + 1e-6
        assert (covariance.abs() <= limit)[off].all()


def test_it_draws_from_the_global_generator(build, make_space, start):
    selector = build('GroupSelector', make_space(), descriptor='objects',
                     edges=[], rates=[[.5, .5, .5, 1.]])
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(selector.select(
            start(selector, shown(*range(50)))).selection.levels)
    assert drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])


@pytest.mark.parametrize(('changes', 'sentence'), [
    (dict(edges=[4, 4]), r'edges=\[4, 4\]; accepted: rising numbers'),
    (dict(edges=[5, 4]), 'rising numbers'),
    (dict(edges=[float('nan')]), r'edges\[0\]=nan; accepted: a finite number'),
    (dict(edges=[]), 'accepted: 1 rows'),
    (dict(rates=[[0, 0, 0, 1], [1, 0, 0, 1.5]]), r'rates\[1\]\[3\]=1.5'),
    (dict(rates=[[0, 0, 1], [1, 0, 0, 0]]),
     r"rates\[0\]=\[0, 0, 1\]; accepted: a probability for each of \['P2'"),
    (dict(rates=[[0, 0, 0, .5], [1, 0, 0, 0]]), 'model.min_levels=0'),
])
def test_what_cannot_work_is_refused(build, make_space, changes, sentence):
    with pytest.raises(ValueError, match=f'GroupSelector: .*{sentence}'):
        build('GroupSelector', make_space(), **ONE_OR_OTHER | changes)


def test_every_group_must_keep_the_budget(build, make_space):
    with pytest.raises(ValueError, match=r'rates\[1\].* budget=3.* not 4'):
        build('GroupSelector', make_space(budget=3.), **ONE_OR_OTHER)


def test_no_level_at_all_where_none_is_asked_for(build, make_space, start):
    from dataclasses import replace
    selector = build('GroupSelector', replace(make_space(), min_levels=0),
                     descriptor='objects', edges=[], rates=[[0, 0, 0, 0]])
    selection = selector.select(start(selector, shown(1, 2))).selection
    assert not selection.levels.any() and (selection.weights == 0).all()
