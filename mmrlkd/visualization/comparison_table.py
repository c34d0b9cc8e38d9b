"""A comparison as a table, for a terminal, a page of Markdown and programs."""

import json
from dataclasses import asdict, replace
from typing import Any

from rich.table import Table

from mmrlkd.evaluation.results import Results
from mmrlkd.experiments.comparison import ComparedRun, Comparison, by_method

from .comparison_verdicts import comparison_verdicts
from .style import stratum_name
from .summary import Read, attribute, distill_gflops, quality, stratum_quality
from .table import Column, Row, rows

TEACHER = 'teacher'
HINDSIGHT = 'fixed, for the front'
_NOTE = (
    'Means over the seeds, ± 95 % t-intervals. Images are those that went '
    "through the student; what RL's search cost is part of its training, what "
    'a search cost came before it. Nothing here is paid at inference.')


def comparison_columns(comparison: Comparison,
                       strata: bool = True) -> list[Column]:
    """What is shown of each method.

    Args:
        comparison: to be shown.
        strata: whether quality by difficulty is wanted.
    """
    names = dict.fromkeys(
        stratum for run in comparison.members
        for stratum in run.by_difficulty) if strata else {}
    name = comparison.task.main.name
    return [
        Column('', name, quality, 1, max),
        *(Column('', f'{name}, {stratum_name(stratum)}',
                 stratum_quality(stratum), 1, max) for stratum in names),
        Column('', 'levels / image', attribute('levels_per_image'), 2),
        Column('', 'cost / image', attribute('distill_cost'), 2),
        Column('', 'GFLOPs / image', distill_gflops, 3),
        Column('', 'search images', _of_students('search_images'), 0),
        Column('', 'search s', _of_students('search_seconds'), 0),
        Column('', 'training images', attribute('train_images'), 0),
        Column('', 'training s', attribute('train_seconds'), 0),
    ]


def comparison_rows(comparison: Comparison,
                    columns: list[Column]) -> list[tuple[str, Row]]:
    """Family and row of each method, the teacher first, at the end the
    subsets that only the front needs. The best are marked among the others."""
    families = {run.method: run.family for run in comparison.members}
    named = [
        ('' if row.method == TEACHER else families[row.method], row)
        for row in rows(Results({}, [*comparison.members]), columns)
    ]
    plain = [replace(column, best=None) for column in columns]
    return named + [
        (HINDSIGHT, row)
        for row in rows(Results({}, [*comparison.subsets]), plain)
    ]


def to_terminal(comparison: Comparison) -> Table:
    """The main columns."""
    columns = comparison_columns(comparison, strata=False)
    table = Table(title='means over seeds, ± 95 % intervals')
    for title in ('method', 'family'):
        table.add_column(title)
    for column in columns:
        table.add_column(column.title, justify='right')
    shown = comparison_rows(comparison, columns)
    for (kind, row), (following, _) in zip(
            shown, [*shown[1:], ('', None)], strict=True):
        table.add_row(row.name, kind, *(
            f'[bold]{cell.text}[/]' if cell.best else cell.text
            for cell in row.cells),
            end_section=kind != following and (
                row.method == TEACHER or following == HINDSIGHT))
    return table


def to_markdown(comparison: Comparison) -> str:
    """All columns, and what they say."""
    columns = comparison_columns(comparison)
    lines = [
        '| ' + ' | '.join(['method', 'family', 'seeds', *(
            column.title for column in columns)]) + ' |',
        '|' + '---|' * 3 + '---:|' * len(columns),
    ]
    for kind, row in comparison_rows(comparison, columns):
        lines.append('| ' + ' | '.join([row.name, kind, row.seeds, *(
            f'**{cell.text}**' if cell.best else cell.text
            for cell in row.cells)]) + ' |')
    return '\n'.join([
        *lines, '', _NOTE, '',
        *(f'- {text}' for text in comparison_verdicts(comparison)), ''])


def to_json(comparison: Comparison) -> str:
    """Every number of every run, and what they say."""
    front = comparison.front
    return json.dumps({
        'task': comparison.task.name,
        'methods': [
            _method(method, runs, hindsight, front)
            for some, hindsight in ((comparison.members, False),
                                    (comparison.subsets, True))
            for method, runs in by_method(some).items()
        ],
        'front': front,
        'exhaustive': comparison.exhaustive,
        'missing': comparison.missing,
        'verdicts': comparison_verdicts(comparison),
    }, indent=1, allow_nan=False) + '\n'


def _of_students(name: str) -> Read:
    return lambda run: (
        None if run.method == TEACHER else attribute(name)(run))


def _method(method: str, runs: list[ComparedRun], hindsight: bool,
            front: list[str]) -> dict[str, Any]:
    first = runs[0]
    same = ('method', 'family', 'subset', 'levels', 'curves', 'selection',
            'adaptive', 'phases', 'parameters', 'trunk_gflops', 'task')
    return {
        'method': method,
        'family': first.family,
        'subset': first.subset,
        'only_for_the_front': hindsight,
        'on_the_front': method in front,
        'runs': [{key: value for key, value in asdict(run).items()
                  if key not in same} for run in runs],
    }
