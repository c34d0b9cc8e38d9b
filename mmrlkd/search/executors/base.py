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
    """Evaluates candidates; their outcomes come back in any order.

    Args:
        workers: candidates that are evaluated in parallel.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = check_integer(
            type(self).__name__, 'workers', workers, 1)

    def bind(self, evaluate: Evaluate) -> None:
        """Set the function that evaluates candidates."""
        self.evaluate = evaluate

    @abstractmethod
    def submit(self, candidate: int, recipe: Recipe) -> None:
        """Queue a candidate; returns at once."""

    @abstractmethod
    def collect(self) -> list[tuple[int, Outcome]]:
        """Wait for outcomes; returns at least one, by candidate."""

    @abstractmethod
    def close(self) -> None:
        """Drop unfinished candidates and release processes."""


def attempt(evaluate: Evaluate, recipe: Recipe) -> Outcome:
    """Evaluate a candidate; any error but KeyboardInterrupt is its failure.

    SystemExit too, because some libraries exit on a bad config.
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
