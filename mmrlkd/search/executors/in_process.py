"""Evaluating one candidate after another in this process."""

from collections import deque

from mmrlkd.arguments import refuse
from mmrlkd.registry import EXECUTORS
from mmrlkd.search.recipe import Outcome, Recipe

from .base import Executor, attempt


@EXECUTORS.register_module()
class InProcessExecutor(Executor):
    """Evaluates in the order of asking; needs no further package.

    Args:
        workers: 1.
    """

    def __init__(self, workers: int = 1) -> None:
        super().__init__(workers)
        if workers > 1:
            refuse('InProcessExecutor', 'workers', workers,
                   "1, as it evaluates one candidate at a time, or "
                   "executor='ray'")
        self._queue: deque[tuple[int, Recipe]] = deque()

    def submit(self, candidate: int, recipe: Recipe) -> None:
        self._queue.append((candidate, recipe))

    def collect(self) -> list[tuple[int, Outcome]]:
        candidate, recipe = self._queue.popleft()
        return [(candidate, attempt(self.evaluate, recipe))]

    def close(self) -> None:
        self._queue.clear()
