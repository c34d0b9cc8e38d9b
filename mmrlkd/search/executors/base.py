"""The interface of executors: where candidates are evaluated."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from math import isfinite

from mmrlkd.arguments import check_integer
from mmrlkd.search.recipe import Outcome, Recipe

#: Trains and scores a student; may raise.
Evaluate = Callable[[Recipe], Outcome]


class Executor(ABC):
    """Takes candidates and hands back outcomes, in any order.

    Args:
        workers: candidates that are evaluated at a time.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = check_integer(
            type(self).__name__, 'workers', workers, 1)

    def bind(self, evaluate: Evaluate) -> None:
        """Get to know what candidates are evaluated with."""
        self.evaluate = evaluate

    @abstractmethod
    def submit(self, candidate: int, recipe: Recipe) -> None:
        """Take a candidate; does not wait for it."""

    @abstractmethod
    def collect(self) -> list[tuple[int, Outcome]]:
        """Wait until candidates are finished, at least one of them."""

    @abstractmethod
    def close(self) -> None:
        """Give back what was taken to evaluate, with all unfinished work."""


def attempt(evaluate: Evaluate, recipe: Recipe) -> Outcome:
    """Evaluate; whatever goes wrong is the candidate's failure, not ours.

    Only an interrupt from the keyboard passes through.
    """
    start = time.perf_counter()
    try:
        outcome = evaluate(recipe)
    except (Exception, SystemExit) as error:
        return Outcome(
            score=None, images=0, seconds=time.perf_counter() - start,
            error=f'{type(error).__name__}: {error}')
    if outcome.score is not None and not isfinite(outcome.score):
        return replace(
            outcome, score=None,
            error=f'The score is {outcome.score}, which is not a number.')
    return outcome
