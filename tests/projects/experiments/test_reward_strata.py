"""What known rewards give to groups of images."""

import math

import pandas as pd
import pytest
import torch

from mmrlkd.rl import subset_table
from mmrlkd.structures import LevelSpace
from projects.experiments.reward_strata import (
    cell_correlation,
    measured_gains,
    shares,
)

SPACE = LevelSpace(('P2', 'P5'), (4., .5), 4.5, (3, ) * 2, 5, min_levels=0)
TABLE = subset_table(2, torch.device('cpu')).double()
STRATA = {'few': range(10), 'some': range(10, 20), 'many': range(20, 30)}


def gains(few, some, many):
    """(30, 4): what each level gains for the images of each stratum."""
    return torch.tensor([few] * 10 + [some] * 10 + [many] * 10).double() @ TABLE.T


@pytest.fixture
def study():
    rows = [('student', '', 0., 10., 20.), ('teacher', '', 0., 90., 90.),
            ('P2', 'P2', 4., 12., 26.), ('P2', 'P2', 4., 14., 28.),
            ('P5', 'P5', .5, 11., 19.), ('policy 2', '', 2., 50., 50.)]
    return pd.DataFrame(rows, columns=[
        'entry', 'subset', 'distill_cost', 'stratum/few', 'stratum/many'])


def test_gains_are_over_the_student_alone(study):
    assert measured_gains(study, SPACE.names) == {
        (1, 'few'): 3., (1, 'many'): 7., (2, 'few'): 1., (2, 'many'): -1.}
    assert measured_gains(study[study.entry != 'student'], SPACE.names) == {}
    # A table of tools/compare.py calls them methods.
    assert measured_gains(
        study.rename(columns=dict(entry='method')), SPACE.names)[1, 'few'] == 3.


def test_known_correlations():
    right = gains([1., .1], [2., .2], [3., .3])
    measured = {(index, name): float(right[list(rows), index].mean())
                for index in (1, 2, 3) for name, rows in STRATA.items()}
    assert cell_correlation(right, STRATA, measured) == (
        pytest.approx(1), pytest.approx(1))
    # The levels in order, the images the other way round.
    cells, strata = cell_correlation(
        gains([3., .3], [2., .2], [1., .1]), STRATA, measured)
    assert -1 < cells < 1 and strata == pytest.approx(-1)
    # The same for all images: the levels alone are told apart.
    cells, strata = cell_correlation(
        gains([2., .2], [2., .2], [2., .2]), STRATA, measured)
    assert cells > 0 and math.isnan(strata)
    assert all(map(math.isnan, cell_correlation(right, STRATA, {})))


def test_shares_of_gain_and_budget():
    """The dear level is worth its cost to a third of the images."""
    found = {each.stratum: each for each in shares(
        {'known': gains([0., 0.], [0., 1.], [8., 1.])}, STRATA, SPACE, 5 / 3)}
    assert found['few'].gain == found['few'].cost == 0
    assert found['some'].gain == pytest.approx(1 / 10)
    assert found['many'].gain == pytest.approx(9 / 10)
    assert found['some'].cost == pytest.approx(.5 / 5)
    assert found['many'].cost == pytest.approx(4.5 / 5)
    assert all(each.images == pytest.approx(1 / 3) for each in found.values())
