"""The interface of measures of one image's prediction."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """How good the prediction for an image is.

    Attributes:
        quality: in [0, 1], higher is better.
        log_prob: logarithm of the probability of the annotated class; None where
            there is no such thing.
    """
    quality: float
    log_prob: float | None = None


class Quality(ABC):
    """Compares the prediction in a sample with its annotation.

    Unlike mAP and mIoU, which are of a data set, it is defined for one image, so
    that settings can be compared on it.
    """

    #: Of the measure, for a table's header.
    name: str

    @abstractmethod
    def __call__(self, sample: Any) -> Score:
        """The score of a sample with annotation and prediction.

        Raises:
            ValueError: it has no annotation.
        """

    @abstractmethod
    def difficulty(self, sample: Any) -> str | None:
        """The stratum of a sample, from its annotation; None if it says
        nothing about that."""


def refuse_unannotated(quality: Quality, lacks: str) -> ValueError:
    """The error of a sample without annotation."""
    return ValueError(
        f'{type(quality).__name__}: the samples have no {lacks}; accepted: a '
        'test pipeline that loads annotations.')
