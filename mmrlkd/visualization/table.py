"""Results as tables, for a page or a terminal."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mmrlkd.evaluation.estimate import Estimate
from mmrlkd.evaluation.results import Results, RunResult

from .style import display_name, stratum_name
from .summary import (
    Read,
    attribute,
    chosen_levels,
    distill_gflops,
    mega_parameters,
    metric,
    minutes,
    stratum_quality,
    summarise,
)

MISSING = '–'


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        group: heading over several columns.
        title: of this one.
        read: where its numbers come from.
        digits: after the point.
        best: ``max`` or ``min``, if one end is the better one.
        hint: what the number is.
        short: title in a terminal; empty where there is no room for it.
    """
    group: str
    title: str
    read: Read
    digits: int
    best: Callable[[Iterable[float]], float] | None = None
    hint: str = ''
    short: str = ''


@dataclass(frozen=True)
class Cell:
    """Text, and whether it is the best of its column."""
    text: str
    best: bool = False

    @property
    def html(self) -> str:
        """With a smaller interval."""
        mean, sign, interval = self.text.partition(' ± ')
        return f'{mean} <small>± {interval}</small>' if sign else mean


@dataclass(frozen=True)
class Row:
    """A method's name, cells and seeds, as shown."""
    method: str
    name: str
    cells: list[Cell]
    seeds: str


def quality_columns(results: Results) -> list[Column]:
    """The task's metrics, overall and by difficulty, in points."""
    task = results.task
    strata = dict.fromkeys(
        stratum for run in results.runs for stratum in run.by_difficulty)
    return [
        Column(task.heading, each.name, metric(each.name), 1, max, each.hint,
               short=each.name) for each in task.metrics
    ] + [
        Column(f'{task.main.name} by difficulty', stratum_name(stratum),
               stratum_quality(stratum), 1, max) for stratum in strata
    ]


def cost_columns(results: Results) -> list[Column]:
    """What training cost; none of it is paid at inference."""
    probe = results.header.get('probe_size')
    gflops = f'GFLOPs per {f"{probe} px " if probe else ""}image'
    logits = [Column(
        gflops, 'logits', attribute('logit_gflops'), 3, None,
        "the teacher's neck and head")] if any(
            run.logit_gflops is not None for run in results.runs) else []
    return [
        Column('levels per image', 'in training',
               attribute('levels_per_image'), 2, None,
               'selected, mean over all iterations', short='levels/image'),
        Column('levels per image', 'in the end', chosen_levels, 2, None,
               'what the trained selector chooses for validation images'),
        Column('distillation', 'nominal cost', attribute('distill_cost'), 2,
               min, 'of the selected levels, mean over all iterations',
               short='cost'),
        Column(gflops, 'selected levels', attribute('distill_gflops'), 3, None,
               "the teacher's outputs and the connectors there"),
        Column(gflops, 'reward', attribute('reward_gflops'), 3, None,
               'levels computed only because the reward looks at them'),
        *logits,
        Column(gflops, 'in all' if logits else 'both', distill_gflops, 3, min,
               'selected levels and reward' + (', logits' if logits else ''),
               short='GFLOPs/image'),
        Column(gflops, 'teacher trunk', attribute('trunk_gflops'), 2, None,
               'backbone and lateral maps, for every image of which any level '
               'is selected'),
        Column('training', 's / iteration', attribute('seconds_per_iteration'),
               2, min, 'wall-clock, without validation', short='s/iter'),
        Column('training', 'minutes', minutes, 1, min,
               'wall-clock, without validation'),
        Column('training', 'iterations', attribute('iterations'), 0),
        Column('training', 'student updates', attribute('student_updates'), 0,
               None, 'iterations that changed the student'),
        Column('inference', 'M parameters', mega_parameters, 2, None,
               'the teacher and the selector are gone'),
    ]


def terminal_columns(results: Results) -> list[Column]:
    """The few that fit into a terminal."""
    columns = quality_columns(results) + cost_columns(results)
    return [column for column in columns if column.short]


def rows(results: Results, columns: Sequence[Column]) -> list[Row]:
    """A row for each method, the teacher first.

    The best of a column is the best *student*: of a quality, among all; of a
    cost, among those that distil. Where all are equal, none is.
    """
    methods = results.by_method()
    order = sorted(methods, key=lambda method: method != 'teacher')
    estimates = {
        method: [summarise(methods[method], c.read) for c in columns]
        for method in order
    }
    best = [
        _best(column, [
            some[i] for method, some in estimates.items()
            if _competes(column, method, methods[method])
        ]) for i, column in enumerate(columns)
    ]
    return [
        Row(method, display_name(method), [
            Cell(shown := format_estimate(value, column.digits),
                 _competes(column, method, methods[method])
                 and shown.split(' ')[0] == top)
            for value, column, top in zip(
                estimates[method], columns, best, strict=True)
        ], ', '.join(str(run.seed) for run in methods[method]))
        for method in order
    ]


def format_estimate(value: Estimate | None, digits: int) -> str:
    """``'31.2 ± 0.8'``; without an interval where there is none."""
    if value is None:
        return MISSING
    text = f'{value.mean:.{digits}f}'
    if value.half_width is not None and round(value.half_width, digits):
        text += f' ± {value.half_width:.{digits}f}'
    return text


def _competes(column: Column, method: str, runs: list[RunResult]) -> bool:
    if column.best is min:
        return runs[0].distils
    return method != 'teacher'


def _best(column: Column, values: list[Estimate | None]) -> str | None:
    """The best mean of a column, as shown."""
    means = [value.mean for value in values if value is not None]
    shown = {f'{mean:.{column.digits}f}' for mean in means}
    if column.best is None or len(shown) < 2:
        return None
    return f'{column.best(means):.{column.digits}f}'
