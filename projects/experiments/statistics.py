"""Means over seeds with their intervals, and paired differences."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

#: Confidence of the intervals.
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean, half the width of its interval, and of how many values.

    Of one value nothing is known: its half width is NaN.
    """
    mean: float
    half_width: float
    count: int


def mean_interval(values: pd.Series | list[float]) -> Interval:
    """Mean and Student's t-interval; NaN if a value is missing."""
    x = np.asarray(values, float)
    count = len(x)
    half = (stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * stats.sem(x)
            if count > 1 else np.nan)
    return Interval(float(np.mean(x)), float(half), count)


def paired_difference(table: pd.DataFrame, method: str, other: str,
                      column: str = 'quality') -> Interval | None:
    """How far a method is above another, over the seeds that both have.

    The difference is taken within each seed, so that what a seed does to both
    (its initial weights, its order of images) does not widen the interval.
    None without a common seed.
    """
    wide = table[table.method.isin([method, other])].pivot(
        index='seed', columns='method', values=column).dropna()
    if method not in wide or other not in wide or wide.empty:
        return None
    return mean_interval(wide[method] - wide[other])
