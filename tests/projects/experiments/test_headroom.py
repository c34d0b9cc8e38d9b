"""Headroom, against enumeration on arrays that are small enough."""

import itertools

import numpy as np
import pytest

from mmrlkd.structures import LevelSpace
from projects.experiments.headroom import (
    Moment,
    allocate,
    analyse,
    best_mixture,
    explained_variance,
    predict,
    spearman,
)

COSTS = np.array([0., 2., 1., 3.])  # the subsets of two levels
SPACE = LevelSpace(('P2', 'P3'), (2., 1.), 3., (1, 1), 1)


def hull(points, budget):
    """Largest mean gain of a lottery over (cost, gain) points."""
    best = max(gain for cost, gain in points if cost <= budget + 1e-12)
    for (c, g), (d, k) in itertools.permutations(points, 2):
        if c <= budget < d:
            best = max(best, g + (k - g) * (budget - c) / (d - c))
    return best


def by_enumeration(gains, budget):
    return hull([
        (COSTS[list(choice)].mean(),
         np.mean([row[s] for row, s in zip(gains, choice)]))
        for choice in itertools.product(range(4), repeat=len(gains))], budget)


@pytest.mark.parametrize('budget', [0., 0.3, 1., 1.7, 2.5, 3.])
@pytest.mark.parametrize('seed', range(5))
def test_the_optimum_is_that_of_all_choices(seed, budget):
    gains = np.random.default_rng(seed).normal(size=(4, 4))
    found = allocate(gains, COSTS, budget)
    assert found.value(gains).mean() == pytest.approx(
        by_enumeration(gains, budget), abs=1e-9)
    cost = (found.share * COSTS[found.dear]
            + (1 - found.share) * COSTS[found.cheap]).mean()
    assert cost <= budget + 1e-9


@pytest.mark.parametrize('budget', [0., 0.3, 1., 1.7, 2.5, 3.])
def test_a_mixture_is_the_best_lottery(budget):
    gains = np.random.default_rng(1).normal(size=(6, 4))
    probabilities = best_mixture(gains, COSTS, budget)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities @ COSTS <= budget + 1e-9
    assert gains.mean(0) @ probabilities == pytest.approx(
        hull(list(zip(COSTS, gains.mean(0))), budget))


def test_what_must_not_be_chosen_is_not():
    gains = np.array([[-np.inf, 1., .9, 2.], [-np.inf, 5., 0., 5.]])
    found = allocate(gains, COSTS, 1.5)
    assert found.cheap.tolist() == [2, 1] and found.share == 0
    assert 0 not in found.dear
    with pytest.raises(ValueError, match='mean cost=0.5; accepted: at least 1'):
        allocate(gains, COSTS, 0.5)


def test_of_equal_subsets_the_cheapest_is_taken():
    found = allocate(np.ones((3, 4)), COSTS, 3.)
    assert found.cheap.tolist() == found.dear.tolist() == [0, 0, 0]


def test_a_budget_is_split_where_images_are_alike():
    gains = np.array([[0., 4., 0., 4.]] * 2)
    found = allocate(gains, COSTS, 1.)
    assert found.share == pytest.approx(0.5)
    assert found.value(gains).tolist() == pytest.approx([2., 2.])


# -- what a state tells ---------------------------------------------------


def test_a_linear_function_is_told_and_noise_is_not():
    random = np.random.default_rng(0)
    states = random.normal(size=(2, 300, 8)) * 100 + 7
    linear = states @ random.normal(size=(8, 1)) + 3
    noise = random.normal(size=(2, 300, 1))
    predicted = predict(states, np.concatenate([linear, noise], -1))
    assert explained_variance(linear[0, :, 0], predicted[:, 0]) > 0.99
    assert abs(explained_variance(noise[0, :, 0], predicted[:, 1])) < 0.05


def test_more_numbers_than_images_are_no_memory():
    random = np.random.default_rng(0)
    states = random.normal(size=(2, 60, 500))
    noise = random.normal(size=(2, 60, 1))
    predicted = predict(states, noise)
    assert explained_variance(noise[0, :, 0], predicted[:, 0]) < 0.1


def test_augmentations_of_an_image_are_not_told_from_each_other():
    """States that name the image: the other augmentation must not help."""
    random = np.random.default_rng(0)
    states = np.repeat(random.normal(size=(1, 60, 500)), 2, axis=0)
    gains = np.repeat(random.normal(size=(1, 60, 1)), 2, axis=0)
    predicted = predict(states, gains)
    assert explained_variance(gains[0, :, 0], predicted[:, 0]) < 0.1


def test_rank_correlation():
    x = np.array([1., 2., 3., 4.])
    assert spearman(x, x**3) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)
    assert spearman(x, np.ones(4)) == 0
    # Ranks 1.5 1.5 3 4 and 1 2 3 4.
    assert spearman(np.array([0., 0., 1., 2.]), x) == pytest.approx(
        np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3, 4])[0, 1])


# -- the whole ------------------------------------------------------------


def world(told, images=400, noise=0.0):
    """Half of the images gain by P2 alone, the others by nothing; the state's
    first number says which, if it is told."""
    random = np.random.default_rng(0)
    needs = random.permutation(images) % 2
    gains = np.zeros((2, images, 4))
    gains[:, needs == 1, 1] = gains[:, needs == 1, 3] = 1.0
    gains = gains + noise * random.normal(size=gains.shape)
    states = random.normal(size=(2, images, 3))
    if told:
        states[..., 0] = needs
    return Moment('iteration 1', states, gains)


def test_known_headroom():
    found = analyse([world(told=True)], SPACE, [1.5])
    row, = found.rows
    # Half of the images get P2, the others must have P3: mean cost 1.5.
    assert row.optimum == row.repeated == pytest.approx(1)
    assert row.told == pytest.approx(1, abs=1e-6)
    # P2 for a random half gains half as much; so does the best lottery.
    assert row.mixture == pytest.approx(0.5)
    assert row.fixed == 0 and row.subset == ('P3', )
    # p(s) ∝ exp(−θ cost) over costs 1, 2, 3 with mean 1.5.
    ratio = (-1 + np.sqrt(1 + 4 * 3 * 1)) / 6  # 1.5 r² + .5 r − .5 = 0
    assert row.random == pytest.approx(
        (ratio + ratio**2) / (1 + ratio + ratio**2), abs=1e-3)
    assert row.worth and row.above == pytest.approx(0.5, abs=1e-6)
    assert found.unit == {'iteration 1': pytest.approx(0.5)}
    assert found.reliability['P2'] == pytest.approx(1)
    assert found.explained['P2'] == pytest.approx(1, abs=1e-3)


def test_a_state_that_says_nothing_is_not_worth_trying():
    row, = analyse([world(told=False)], SPACE, [1.5]).rows
    assert row.optimum == pytest.approx(1) and not row.worth
    assert row.told == pytest.approx(row.mixture, abs=0.1)


def test_noise_raises_the_optimum_and_not_what_is_repeated():
    random = np.random.default_rng(0)
    noise = Moment('m', random.normal(size=(2, 500, 3)),
                   random.normal(size=(2, 500, 4)))
    row, = analyse([noise], SPACE, [1.5]).rows
    assert row.optimum > 0.5
    assert abs(row.repeated - row.mixture) < 0.15
    assert max(analyse([noise], SPACE).reliability.values()) < 0.15


def test_all_that_may_be_spent_leaves_no_choice():
    """With additive positive gains everybody wants everything."""
    random = np.random.default_rng(0)
    single = random.random((2, 50, 2)) + 0.1
    gains = np.stack([0 * single[..., 0], single[..., 0], single[..., 1],
                      single.sum(-1)], -1)
    moments = [Moment(name, random.normal(size=(2, 50, 3)), gains)
               for name in 'ab']
    found = analyse(moments, SPACE)
    last = found.rows[-1]
    assert last.cost == 3
    for value in (last.random, last.fixed, last.mixture, last.optimum):
        assert value == pytest.approx(1)
    assert last.subset == ('P2', 'P3')
    assert [row.cost for row in found.rows] == pytest.approx(
        [3 * i / 8 for i in range(3, 9)])
    for row in found.rows:
        assert row.random <= row.mixture + 1e-6 <= row.optimum + 2e-6
        assert row.fixed <= row.mixture + 1e-9
