"""What controllers are compared with, against tables whose best is known."""

import math

import pytest
import torch

from mmrlkd.dynamic.baselines import Hull, best_static, oracle, random_feasible, static
from mmrlkd.dynamic.controller import Controller
from mmrlkd.dynamic.deployed import ControllerHeader, LoadedController
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.table import ProfileTable


def table_of(profile, latency, quality):
    """One of images without features."""
    latency, quality = torch.tensor(latency), torch.tensor(quality)
    n = len(latency)
    return ProfileTable(
        profile.header, profile.space, ('', ) * n, latency, quality,
        torch.zeros(n, 1), torch.zeros(n, 0), ('', ) * n,
        torch.ones_like(latency, dtype=torch.bool))


@pytest.fixture
def small(profile):
    return table_of(
        profile, [[1., 2., 3., 4., 5., 6.], [1., 2., 3., 4., 5., 9.]],
        [[.1, .5, .5, .9, .2, .9], [.7, .1, .3, .3, .3, .8]])


def test_the_oracle_takes_the_best_that_fits_and_of_equals_the_fastest(small):
    assert oracle(small, 4.).argmax(1).tolist() == [3, 0]
    assert oracle(small, 3.5).argmax(1).tolist() == [1, 0]
    assert oracle(small, 4., overhead_ms=0.5).argmax(1).tolist() == [1, 0]
    assert oracle(small, 0.5).argmax(1).tolist() == [0, 0]  # nothing fits
    assert oracle(small, 4.).sum(1).tolist() == [1., 1.]


def test_without_a_budget_the_oracle_has_the_highest_quality(profile, small):
    for table in (profile, small):
        found = (oracle(table, math.inf) * table.quality).sum(1)
        assert found.equal(table.quality.amax(1))


def test_no_way_within_the_budget_is_better_than_the_oracle(profile):
    for budget in (20., 27., 36., 50.):
        fits = (profile.latency <= budget).float()
        best = (oracle(profile, budget) * profile.quality).sum(1)
        assert (fits * profile.quality <= best[:, None]).all()


def test_the_best_static_setting_keeps_the_budget_on_most_images(small):
    assert best_static(small, 4., 0.97) == 3  # 0.6 on average, 4 ms
    assert best_static(small, 6., 0.97) == 3  # 5 would be 0.85, and 9 ms once
    assert best_static(small, 6., 0.5) == 5
    assert best_static(small, 0.5, 0.97) == 0
    assert static(small, 3).argmax(1).tolist() == [3, 3]


def test_a_mix_lies_on_the_concave_hull(profile):
    table = table_of(profile, [[1., 2., 3., 4., 5., 6.]],
                     [[.1, .2, .7, .6, .8, .75]])
    hull = Hull.of(table)
    # 1 is below the line from 0 to 2; 3 and 5 are worse than cheaper ones.
    assert hull.settings.tolist() == [0, 2, 4]
    for latency, quality in ((0.5, .1), (1., .1), (2., .4), (3., .7), (4., .75),
                             (5., .8), (9., .8)):
        way = hull.mixed(table, latency)
        assert way.sum() == pytest.approx(1.)
        assert (way * table.quality).sum() == pytest.approx(quality)
        assert (way * table.latency).sum() == pytest.approx(
            min(max(latency, 1.), 5.))


def test_one_setting_may_be_the_whole_hull(profile):
    table = table_of(profile, [[1., 2., 3., 4., 5., 6.]], [[.9] * 6])
    assert Hull.of(table).mixed(table, 3.).argmax(1).tolist() == [0]


def test_chance_chooses_evenly_among_what_fits(profile):
    controller = LoadedController(
        ControllerHeader(profile.header.knobs, 4, 0, 0.5, (10., 50.)),
        LatencyModel.fit(profile), Controller(4, profile.space.sizes))
    way = random_feasible(controller, profile, 36.)
    torch.testing.assert_close(
        way[0], torch.tensor([.25, .25, .25, 0., .25, 0.]))
