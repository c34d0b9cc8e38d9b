"""The loop of a search: ask a strategy, evaluate, tell it, record."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from mmrlkd.arguments import check_integer, check_number, refuse
from mmrlkd.distillation.selection.environment import within_budget
from mmrlkd.registry import EXECUTORS, STRATEGIES
from mmrlkd.structures import LevelSpace

from .executors import Evaluate, Executor
from .history import History, Trial
from .recipe import Outcome, Recipe
from .strategies import Strategy

#: Executors that a config may name by a word.
SHORTHANDS = dict(local='mmrlkd.InProcessExecutor', ray='mmrlkd.RayExecutor')


class Progress(Protocol):
    """Called for each candidate that is finished."""

    def __call__(self, done: int, total: int,
                 incumbent: Trial | None) -> None:
        ...


def run_search(
        strategy: Mapping[str, Any], space: LevelSpace, evaluate: Evaluate,
        history: str | Path, *, executor: str | Mapping[str, Any] = 'local',
        workers: int | None = None, seed: int = 0, staleness: int = 0,
        efficiency: float = 0., about: Mapping[str, Any] | None = None,
        begin: Callable[[], object] | None = None,
        progress: Progress | None = None) -> History:
    """Search for the best recipe; continue, if ``history`` exists.

    The strategy is asked for batch k when it has been told exactly the batches
    up to k − 1 − ``staleness``, in the order of asking. So the result depends
    neither on the number of workers nor on the order in which they finish. A
    recipe is evaluated once only.

    To resume, the strategy is asked from the start and told the outcomes in the
    history; no finished candidate is evaluated again.

    Args:
        strategy: config of a :class:`Strategy`.
        space: the levels, their costs and the budget.
        evaluate: trains and scores a student; picklable for Ray.
        history: path of the file of JSON lines.
        executor: ``'local'``, ``'ray'`` or the config of an
            :class:`Executor`.
        workers: parallel candidates, if other than the executor's own number.
        seed: of the strategy.
        staleness: batches that may be unfinished when the next is asked for.
        efficiency: price of the full pyramid's cost, in points of the metric;
            the strategy maximises score − efficiency · cost.
        about: other settings that scores depend on, e.g. the evaluator's
            config, as JSON types. A history is resumed with the same ones only.
        begin: called before the first candidate, when the settings are known to
            fit each other and the history.
        progress: called for each finished candidate, and once at the start of
            a resumed search.

    Returns:
        The history with all candidates, their sums, and the incumbent.
    """
    check_integer('search', 'staleness', staleness, 0)
    check_number('search', 'efficiency', efficiency, 0)
    searcher: Strategy = STRATEGIES.build(dict(strategy))
    searcher.bind(space, seed)
    pool = _build_executor(executor, workers)
    pool.bind(evaluate)
    record = History.open(history, dict(
        strategy=dict(strategy), seed=seed, space=asdict(space),
        efficiency=efficiency,
        # Has no effect if batches do not depend on one another.
        staleness=staleness if searcher.adaptive else 0,
        about=dict(about or {})))
    try:
        if begin is not None:
            begin()
        _Search(searcher, space, pool, record, progress).run(staleness)
    finally:
        pool.close()
    return record


class _Search:
    """One run: candidates are numbered in the order of asking."""

    def __init__(self, strategy: Strategy, space: LevelSpace,
                 executor: Executor, history: History,
                 progress: Progress | None) -> None:
        self.strategy = strategy
        self.space = space
        self.executor = executor
        self.history = history
        self.progress = progress
        self.recipes: list[Recipe] = []
        #: The candidate that a recipe is evaluated as.
        self.original: dict[Recipe, int] = {}
        #: Candidates that wait for an original's outcome.
        self.repeats: dict[int, list[int]] = {}

    def run(self, staleness: int) -> None:
        if len(self.history):
            self._report()
        asked: deque[list[int]] = deque()
        more = True
        while True:
            # Keep up to staleness + 1 batches in flight.
            while more and len(asked) <= staleness:
                batch = self.strategy.ask()
                more = bool(batch)
                if batch:
                    asked.append([self._propose(recipe) for recipe in batch])
            if not asked:
                return
            numbers = asked.popleft()
            self.strategy.tell(
                [self.recipes[number] for number in numbers],
                [self.history.objective(self._wait_for(number))
                 for number in numbers])

    def _propose(self, recipe: Recipe) -> int:
        """Number a recipe, and evaluate it unless that was done before."""
        number = len(self.recipes)
        self.recipes.append(recipe)
        original = self.original.setdefault(recipe, number)
        # `held`: this candidate is finished, in a run before resuming. `known`:
        # an earlier candidate with this recipe is.
        held = self.history.get(number)
        known = self.history.get(original)
        if held is not None:
            self._check(held)
        elif known is not None:
            self._repeat(number, known.outcome)
        elif original != number:
            self.repeats.setdefault(original, []).append(number)
        elif (reason := _obstacle(recipe, self.space)) is not None:
            self._finish(number, Outcome(None, 0, 0., reason))
        else:
            self.executor.submit(number, recipe)
        return number

    def _wait_for(self, number: int) -> Trial:
        while (trial := self.history.get(number)) is None:
            for finished, outcome in self.executor.collect():
                self._finish(finished, outcome)
                for repeat in self.repeats.pop(finished, []):
                    self._repeat(repeat, outcome)
        return trial

    def _repeat(self, number: int, outcome: Outcome) -> None:
        self._finish(
            number, replace(outcome, images=0, seconds=0.), repeated=True)

    def _finish(self, number: int, outcome: Outcome,
                repeated: bool = False) -> None:
        recipe = self.recipes[number]
        self.history.add(Trial(
            number, recipe, outcome, recipe.cost(self.space), repeated))
        self._report()

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(len(self.history), self.strategy.total,
                          self.history.incumbent)

    def _check(self, held: Trial) -> None:
        asked = self.recipes[held.candidate]
        if held.recipe != asked:
            raise ValueError(
                f'{self.history.path} holds "{held.recipe}" as candidate '
                f'{held.candidate}, where the search now asks for "{asked}": '
                'another version of mmrlkd or torch wrote it; search again '
                'in a new file.')


def _obstacle(recipe: Recipe, space: LevelSpace) -> str | None:
    """Why a recipe is a failure without being tried; None if it is not."""
    if not recipe.levels:
        return 'The recipe distils nothing.'
    cost = recipe.cost(space) * sum(space.costs)  # from a share to the currency
    if not within_budget(cost, space):
        return f'The recipe costs {cost:g}, but budget={space.budget:g}.'
    return None


def _build_executor(executor: str | Mapping[str, Any],
                    workers: int | None) -> Executor:
    if isinstance(executor, str):
        if executor not in SHORTHANDS:
            refuse('search', 'executor', executor,
                   f'{", ".join(map(repr, SHORTHANDS))}, or a config with a '
                   'type')
        executor = dict(type=SHORTHANDS[executor])
    config = dict(executor)
    if workers is not None:
        config['workers'] = workers
    return EXECUTORS.build(config)
