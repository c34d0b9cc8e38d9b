import numpy as np
import pytest
from scipy import stats

from projects.experiments.pilot import draw_rates, quantile_edges, regress
from projects.experiments.runs import ExperimentFailed


def draw(trainings: int) -> np.ndarray:
    return np.stack([draw_rates(i, 4, 4).flatten() for i in range(trainings)])


def test_every_cell_is_distilled_as_often_as_not() -> None:
    rates = draw(40)
    assert set(np.unique(rates)) == {0, 1}
    assert (rates.mean(0) == .5).all()
    assert len({row.tobytes() for row in rates}) == 40
    assert (draw(10) == rates[:10]).all()  # more trainings keep the others


def test_known_effects_are_found_in_spite_of_the_seeds() -> None:
    worth = np.linspace(-1, 2, 16)
    design, seeds = draw(60), np.arange(60) // 2 % 3
    effects = regress(design, design @ worth + 10 * seeds, seeds)
    assert effects.coefficients == pytest.approx(worth)
    assert effects.half_widths == pytest.approx(0, abs=1e-6)
    assert effects.freedom == 60 - 16 - 3


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    worth = rng.normal(size=16)
    design, seeds = draw(40), np.arange(40) // 2 % 2
    covered = []
    for _ in range(200):
        effects = regress(design, design @ worth + rng.normal(size=40), seeds)
        covered += [*(abs(effects.coefficients - worth) < effects.half_widths)]
    assert np.mean(covered) == pytest.approx(.95, abs=.02)


def test_one_effect_is_the_difference_of_two_means() -> None:
    rng = np.random.default_rng(0)
    x, y = np.repeat([0., 1.], 10), rng.normal(size=20)
    effects = regress(x[:, None], y, np.zeros(20))
    low, high = stats.ttest_ind(y[x == 1], y[x == 0]).confidence_interval(.95)
    assert effects.coefficients[0] - effects.half_widths[0] == pytest.approx(low)
    assert effects.coefficients[0] + effects.half_widths[0] == pytest.approx(high)


@pytest.mark.parametrize('trainings', [16, 18])
def test_too_few_trainings_are_refused(trainings: int) -> None:
    with pytest.raises(ExperimentFailed, match='more of --trainings'):
        regress(draw(trainings), np.zeros(trainings), np.arange(trainings) % 2)


def test_edges_part_values_in_groups_of_like_size() -> None:
    values = np.arange(100.)
    assert quantile_edges(values, 4) == (24.5, 49.5, 74.5)
    counts = np.repeat([1, 2, 3, 9], 25)
    assert quantile_edges(counts, 4) == (1.5, 2.5, 6.0)
    with pytest.raises(ExperimentFailed, match='4 different values'):
        quantile_edges(counts, 5)
    with pytest.raises(ExperimentFailed, match='like size'):
        quantile_edges(np.array([1] * 97 + [2, 3, 4]), 4)
