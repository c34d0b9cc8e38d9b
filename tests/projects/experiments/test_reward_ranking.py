"""Rewards whose ranks are known."""

import math

import pandas as pd
import pytest
import torch

from mmrlkd.rl import subset_table
from mmrlkd.structures import LevelSpace
from projects.experiments.reward_ranking import (
    measured_quality,
    normalised,
    rank_subsets,
)

SPACE = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5, (3, ) * 4, 5)
TABLE = subset_table(4, torch.device('cpu')).double()


def gains(*levels):
    """(50, 16), of images that gain ``levels`` on average."""
    noise = torch.rand(50, 1, dtype=torch.float64) + 0.5
    return noise / noise.mean() * (TABLE @ torch.tensor(levels).double())


def results(subsets, quality):
    return pd.DataFrame(dict(
        subset=[*subsets, *subsets, None],
        quality=[*(q + 1 for q in quality), *(q - 1 for q in quality), 99.]))


def test_known_correlations():
    worth = TABLE @ torch.tensor([8., 5., 3., 1.]).double()
    quality = {i: float(worth[i]) for i in range(1, 16)}
    found = rank_subsets({
        'right': gains(.8, .5, .3, .1), 'wrong': gains(-.8, -.5, -.3, -.1),
        'blind': gains(0., 0., 0., 0.)}, SPACE, quality, [0., 100.])
    rho = {(each.reward, each.efficiency): each.correlation for each in found}
    assert rho['right', 0.] == pytest.approx(1)
    assert rho['wrong', 0.] == pytest.approx(-1)
    assert math.isnan(rho['blind', 0.])
    # Where the cost alone counts, the dear subsets come last.
    assert rho['right', 100.] < -0.9
    best = {(each.reward, each.efficiency): each.best for each in found}
    assert best['right', 0.] == 'P2+P3+P4+P5' and best['right', 100.] == 'P5'


def test_quality_is_the_mean_over_seeds_of_fixed_subsets():
    table = results(['P2', 'P2+P5', 'P3'], [30., 31., 29.])
    assert measured_quality(table, SPACE.names) == {1: 30., 9: 31., 2: 29.}
    with pytest.raises(ValueError, match='it has 1 fixed subsets of the levels'):
        measured_quality(results(['P2', 'C3'], [1., 2.]), SPACE.names)


def test_the_unit_is_what_all_levels_gain():
    raw = 7 * gains(.8, .5, .3, .1)
    assert normalised(raw)[:, -1].mean().item() == pytest.approx(1)
    assert normalised(0 * raw).isfinite().all()
