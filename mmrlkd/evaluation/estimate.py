"""A number measured with several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.special import stdtrit

#: Confidence of the intervals.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """Mean of some values, with its confidence interval.

    Attributes:
        mean: of the values.
        half_width: of the 95 % interval; None for a single value, of which
            nothing is known.
        count: how many values.
    """
    mean: float
    half_width: float | None
    count: int

    def overlaps(self, other: 'Estimate') -> bool:
        """Whether the intervals overlap; True where one is unknown."""
        if self.half_width is None or other.half_width is None:
            return True
        return abs(self.mean - other.mean) <= (
            self.half_width + other.half_width)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and Student's t-interval of at least one value."""
    count = len(values)
    if count == 1:
        return Estimate(values[0], None, 1)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return Estimate(
        fmean(values), quantile * stdev(values) / sqrt(count), count)
