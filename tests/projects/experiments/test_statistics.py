import math

import pandas as pd
import pytest

from projects.experiments.statistics import mean_interval, paired_difference


def test_known_interval_of_1_2_3() -> None:
    found = mean_interval([1, 2, 3])
    assert found.mean == 2
    assert found.half_width == pytest.approx(2.484, abs=5e-4)
    assert found.count == 3


def test_a_single_value_has_no_interval() -> None:
    found = mean_interval([5.])
    assert found.mean == 5
    assert math.isnan(found.half_width)


def test_a_paired_difference_is_taken_within_each_seed() -> None:
    """Seeds differ by 10 points, the methods by 1, 2 and 3 within a seed."""
    table = pd.DataFrame(dict(
        method=['a'] * 3 + ['b'] * 4, seed=[0, 1, 2, 0, 1, 2, 9],
        quality=[11., 22., 33., 10., 20., 30., 99.]))
    found = paired_difference(table, 'a', 'b')
    assert found.mean == 2
    assert found.half_width == pytest.approx(2.484, abs=5e-4)
    assert paired_difference(table, 'a', 'c') is None
