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
        if not math.isfinite(scores.sum()):
            scores = np.where(np.isfinite(scores), scores, 0.)
        settings = (scores + self.penalty).argmax(1)
        if len(self.predicted_ms) == 1:
            return Choice(settings, self.predicted_ms[0].take(settings), self.feasible)
        return Choice(settings, np.take_along_axis(
            self.predicted_ms, settings[:, None], 1)[:, 0], self.feasible)


def each_budget(budget_ms: Budgets, images: int) -> tuple[float, ...]:
    """(B,) of one number for each of B images, or for all."""
    if isinstance(budget_ms, Tensor):
        budget_ms = budget_ms.tolist()
    if isinstance(budget_ms, Sequence):
        return tuple(budget_ms)
    return (budget_ms, ) * images


def checked_budgets(budgets: Sequence[float]) -> np.ndarray:
    """(B,) float32.

    Raises:
        ValueError: one is no number > 0.
    """
    result: np.ndarray = np.asarray(budgets, np.float32)
    if not (result > 0).all():
        refuse('controller', 'budget_ms', float(result[~(result > 0)][0]),
               'a number of ms > 0')
    return result
