"""Which settings fit into budgets, and which of them is chosen.

This runs for each image, so numbers are numpy's, which are faster than torch's where
there are few of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import Tensor

from mmrlkd.arguments import refuse

#: Budgets of images: (B,) or one number for each of them, in ms.
Budgets = Tensor | Sequence[float] | float


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen for B images.

    Attributes:
        settings: (B,) int64.
        predicted_ms: (B,) upper quantile of their latency, with the time of the
            decision.
        feasible: (B,) bool, whether a setting is predicted to fit into the budget.
    """
    settings: np.ndarray
    predicted_ms: np.ndarray
    feasible: np.ndarray


@dataclass(frozen=True, eq=False)
class Limits:
    """What budgets leave to choose from, for B images.

    Attributes:
        predicted_ms: (B, S) what is compared with the budgets; (1, S) if it is the
            same for each image.
        allowed: (B, S) bool, the settings that fit; where none does, the cheapest.
        feasible: (B,) bool, whether any fits.
        penalty: (B, S) float32, 0 where allowed and −∞ elsewhere.
    """
    predicted_ms: np.ndarray
    allowed: np.ndarray
    feasible: np.ndarray
    penalty: np.ndarray

    @classmethod
    def of(cls, predicted_ms: np.ndarray, budget_ms: np.ndarray) -> Self:
        """Those of budgets (B,)."""
        fits = np.asarray(predicted_ms <= budget_ms[:, None])
        feasible = np.asarray(fits.any(1))
        if not feasible.all():
            cheapest = predicted_ms == predicted_ms.min(1, keepdims=True)
            fits = np.where(feasible[:, None], fits, cheapest)
        return cls(predicted_ms, fits, feasible,
                   np.where(fits, 0., -np.inf).astype(np.float32))

    def choose(self, scores: np.ndarray) -> Choice:
        """The allowed settings of the highest score (B, S). Scores that are no
        numbers count as 0: a network that overflowed must not choose what is
        forbidden."""
        images = np.arange(len(scores))
        penalised = scores + self.penalty
        settings = penalised.argmax(1)  # the first NaN, if there is one
        # Of single images, Python is faster than a reduction of numpy.
        if not all(map(math.isfinite, penalised[images, settings].tolist())):
            penalised = np.where(np.isfinite(scores), scores, 0.) + self.penalty
            settings = penalised.argmax(1)
        rows = 0 if len(self.predicted_ms) == 1 else images
        return Choice(settings, self.predicted_ms[rows, settings], self.feasible)


def each_budget(budget_ms: Budgets, images: int) -> tuple[float, ...]:
    """(B,) of one number for each of B images, or for all.

    Raises:
        ValueError: there are more or fewer of them.
    """
    if isinstance(budget_ms, Tensor):
        budget_ms = budget_ms.tolist()
    if not isinstance(budget_ms, Sequence):
        return (budget_ms, ) * images
    if len(budget_ms) != images:
        refuse('controller', 'len(budget_ms)', len(budget_ms),
               f'one number, or one for each of {images} images')
    return tuple(budget_ms)


def checked_budgets(budget_ms: Budgets) -> np.ndarray:
    """(B,) float32; of one number, (1,).

    Raises:
        ValueError: one is no number > 0.
    """
    if isinstance(budget_ms, Tensor):
        budget_ms = budget_ms.tolist()
    result: np.ndarray = np.atleast_1d(np.asarray(budget_ms, np.float32))
    if not (result > 0).all():
        refuse('controller', 'budget_ms', float(result[~(result > 0)][0]),
               'a number of ms > 0')
    return result
