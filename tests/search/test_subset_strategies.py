"""Exhaustive, random and evolutionary search: known answers."""

import statistics
from collections import Counter
from math import inf, sqrt

import pytest

from mmrlkd.registry import STRATEGIES
from mmrlkd.search import Recipe

EXHAUSTIVE = dict(type='mmrlkd.ExhaustiveSearch')


def evolution(**kwargs):
    return dict(type='mmrlkd.EvolutionSearch', **kwargs)


# -- exhaustive and random ------------------------------------------------------


@pytest.mark.parametrize(
    ('budget', 'subsets'), [(0.5, 1), (1., 2), (2., 4), (3., 6), (7.5, 15)])
def test_exhaustive_search_leaves_nothing_out(
        bound, make_space, budget, subsets):
    space = make_space(budget=budget)
    batch = bound(EXHAUSTIVE, space=space).ask()
    assert len(set(batch)) == len(batch) == subsets


def test_random_search_draws_without_replacement(bound):
    everything = set(bound(EXHAUSTIVE).ask())
    for evaluations, expected in ((1, 1), (7, 7), (15, 15), (99, 15)):
        strategy = bound(dict(
            type='mmrlkd.RandomSearch', evaluations=evaluations))
        batch = strategy.ask()
        assert len(set(batch)) == len(batch) == expected == strategy.total
        assert set(batch) <= everything


def test_random_search_hits_the_best_after_a_median_of_8(bound):
    best = Recipe.subset(['P3', 'P5'])
    config = dict(type='mmrlkd.RandomSearch', evaluations=15)
    hits = [bound(config, seed=seed).ask().index(best) + 1
            for seed in range(4000)]
    assert statistics.median(hits) == 8
    counts = Counter(hits)
    # Every place is equally likely; five standard errors.
    for place in range(1, 16):
        assert counts[place] == pytest.approx(
            4000 / 15, abs=5 * sqrt(4000 / 15))


# -- evolution -------------------------------------------------------------------


def test_defaults_are_those_of_the_comparison():
    strategy = STRATEGIES.build(evolution())
    assert (strategy.population, strategy.generations) == (20, 100)


def test_a_mutation_changes_one_level(bound):
    strategy = bound(evolution())
    for subset in range(1, 16):
        found = {strategy.mutate(subset) for _ in range(100)}
        assert found == {subset ^ bit for bit in (1, 2, 4, 8)} - {0}


@pytest.mark.parametrize('budget', [0.5, 1., 2., 3.])
def test_a_mutation_repairs_what_a_crossover_broke(bound, make_space, budget):
    strategy = bound(evolution(), space=make_space(budget=budget))
    for subset in range(16):
        mutant = strategy.mutate(subset)
        assert mutant in strategy.feasible
        assert mutant != subset or strategy.feasible == [subset]
        nearest = min((subset ^ other).bit_count()
                      for other in strategy.feasible if other != subset or
                      len(strategy.feasible) == 1)
        assert (subset ^ mutant).bit_count() == nearest


def test_crossover_is_uniform(bound):
    strategy = bound(evolution())
    children = Counter(strategy.cross(0b0011, 0b0110) for _ in range(4000))
    # The level both have stays, the one neither has stays away.
    assert set(children) == {0b0010, 0b0011, 0b0110, 0b0111}
    for count in children.values():
        assert count == pytest.approx(1000, abs=5 * sqrt(4000 * 3 / 16))


@pytest.mark.parametrize('tournament', [1, 3, 5])
def test_tournaments_draw_with_replacement(bound, tournament):
    """The fittest of five wins with 1 − (4/5)^k, not k/5."""
    strategy = bound(evolution(population=5, tournament=tournament))
    subsets = [1, 2, 4, 8, 3]
    strategy.tell([strategy.recipe(subset) for subset in subsets],
                  [.1, .2, .9, .3, -inf])
    wins = Counter(strategy.select() for _ in range(20_000))
    expected = 1 - 0.8**tournament
    assert wins[4] / 20_000 == pytest.approx(
        expected, abs=5 * sqrt(expected * (1 - expected) / 20_000))
    worst = 0.2**tournament
    assert wins[3] / 20_000 == pytest.approx(
        worst, abs=5 * sqrt(worst / 20_000))


def test_the_oldest_dies_even_if_it_is_the_best(bound):
    strategy = bound(evolution(population=3))
    for subset, fitness in ((1, 9.), (2, 1.), (4, 2.), (8, 0.)):
        strategy.tell([strategy.recipe(subset)], [fitness])
    assert list(strategy.living) == [(2, 1.), (4, 2.), (8, 0.)]


def test_the_incumbent_stays_when_it_leaves_the_population(search, space):
    """Cost is all that counts, and the best is in the history for good."""
    history = search(evolution(population=4, generations=30), efficiency=100.)
    assert history.incumbent.recipe == Recipe.subset(['P5'])
    assert len(history) == 120
    assert history.images <= 150


@pytest.mark.parametrize('told', [0, 1])
def test_until_it_is_told_it_draws_uniformly(bound, told):
    strategy = bound(evolution(population=6000))
    if told:
        strategy.ask()  # nothing was heard of it yet
    counts = Counter(strategy.ask())
    assert len(counts) == 15
    for count in counts.values():
        assert count == pytest.approx(400, abs=5 * sqrt(400))


def test_fitter_parents_have_more_children(bound):
    """On average each generation is better than the random one."""
    strategy = bound(evolution(population=50, generations=12))
    means = []
    while batch := strategy.ask():
        fitness = [float(recipe.names == ('P3', 'P4')) +
                   len({'P3', 'P4'} & set(recipe.names)) -
                   len({'P2', 'P5'} & set(recipe.names)) for recipe in batch]
        strategy.tell(batch, fitness)
        means.append(statistics.mean(fitness))
    assert statistics.mean(means[1:]) > means[0] + 0.5


@pytest.mark.parametrize('key', ['population', 'generations', 'tournament'])
def test_impossible_evolutions_are_errors(key):
    with pytest.raises(ValueError, match=f'EvolutionSearch: {key}=0; accepted: '):
        STRATEGIES.build(evolution(**{key: 0}))


def test_no_evaluations_are_an_error():
    with pytest.raises(
            ValueError, match='evaluations=0; accepted: an integer >= 1'):
        STRATEGIES.build(dict(type='mmrlkd.RandomSearch', evaluations=0))
