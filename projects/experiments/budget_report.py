"""The report of the demo of inference under a latency budget."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmrlkd.dynamic.comparison import BOUNDED, MIXED, ORACLE, RANDOM, STATIC
from mmrlkd.dynamic.figure import draw
from mmrlkd.dynamic.onnx_controller import OnnxController
from mmrlkd.dynamic.table import ProfileTable

from .budget import Files, read_tests
from .figures.style import styled, to_svg
from .report import Section, render
from .statistics import mean_interval

TITLE = 'Inference under a latency budget: how to run the model on this image?'


def sections(task: str, files: Files) -> list[Section]:
    """What a task's part of the page shows."""
    summary = json.loads((files.comparison / 'comparison.json').read_text())
    rows, choices = (pd.read_csv(files.comparison / f'{name}.csv',
                                 dtype={'difficulty': str}, keep_default_na=False)
                     for name in ('comparison', 'choices'))
    for name in ('quality', 'latency_ms', 'within'):
        rows[name] = pd.to_numeric(rows[name])
    algorithm, held_out = summary['algorithm'], summary['plan']['held_out']
    with styled():
        figure = draw(rows, choices, algorithm, held_out)
    return [
        Section(
            f'{task}: accuracy against budget',
            f'On held-out images of the profile: {summary["quality"]}, mean over '
            'the seeds with 95 % intervals. “static mix” chooses at random between '
            'two settings so that the mean latency is that of the controller; '
            '“oracle” knows what every setting is worth on each image.',
            figure=to_svg(figure, f'{task}: accuracy against budget')),
        Section(f'{task}: on held-out images', 'The last columns are differences, '
                'paired over seeds; an interval that includes 0 shows none.',
                comparison_frame(summary).to_html(border=0)),
        Section(
            f'{task}: end to end', 'On a test set of its own, one image at a time, '
            'by the library’s evaluator. “within” counts the time that looking '
            'and deciding take; “overhead” is what they add to a run in the same '
            'setting, median, and “of all time” the share of the sums; “looked” '
            'is the share of images that were looked at. “static” is the best single '
            'setting for the budget by the profile, run beside the controller.',
            end_to_end_frame(files).to_html(border=0)),
        Section(
            f'{task}: what training with dropped blocks is worth',
            f'Mean {summary["quality"]} of the profiled images with all else at its '
            'full setting, and latency.', blocks_frame(files).to_html(border=0)),
    ]


def write_budget_report(parts: dict[str, Files], facts: dict[str, Any],
                        page: Path) -> None:
    """Write the page of all tasks."""
    render(TITLE, [section for task, files in parts.items()
                   for section in sections(task, files)], facts, page)


def comparison_frame(summary: dict[str, Any]) -> pd.DataFrame:
    """A line for each budget."""
    algorithm = summary['algorithm']
    lines = {}
    for entry in summary['budgets']:
        means = entry['methods']
        lines[f'{entry["budget_ms"]:g} ms'] = {
            **{name: _text(means[name]['quality'], 3)
               for name in (algorithm, 'exact', 'warm start', STATIC, BOUNDED,
                            MIXED, RANDOM, ORACLE) if name in means},
            **{f'{column}, {algorithm}': _text(means[algorithm][column], 3)
               for column in ('within', 'looked')},
            **{f'{algorithm} − {other}': _text(entry['above'][other], 3, '+')
               for other in (STATIC, BOUNDED, MIXED)}}
    return pd.DataFrame.from_dict(lines, orient='index')


def end_to_end_frame(files: Files) -> pd.DataFrame:
    """A line for each budget and kind of controller, and for the static setting."""
    tests = list(read_tests(files))
    lines = {}
    for budget in dict.fromkeys(row['budget_ms'] for row in tests):
        for kind in ('int8', 'float'):
            some = [row for row in tests
                    if (row['budget_ms'], row['kind']) == (budget, kind)]
            if some:
                lines[f'{budget:g} ms, {kind}'] = _outcome(some) | {
                    'looked': _mean(row['looked'] for row in some),
                    'overhead': _mean(row['overhead'] for row in some),
                    'of all time': _mean(row['overhead_total'] for row in some),
                    'overhead, ms': _mean(row['overhead_ms'] for row in some)}
        static = [row['static'] for row in tests if row['budget_ms'] == budget]
        lines[f'{budget:g} ms, static'] = _outcome(static)
    agreement = [OnnxController(path.with_name(
        path.name.removesuffix('.test.json'))).agreement.same_setting
        for (kind, _), path in files.tests.items() if kind == 'int8']
    frame = pd.DataFrame.from_dict(lines, orient='index').fillna('')
    frame.columns.name = f'int8 agrees on {min(agreement):.1%} or more'
    return frame


def _outcome(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Means of an end-to-end test over seeds."""
    name = next(iter(rows[0]['metrics']))
    return {
        name: _mean(row['metrics'][name] for row in rows),
        'quality': _mean(row['quality'] for row in rows),
        **{f'{key}, ms': _mean(row['latency_ms'][key] for row in rows)
           for key in ('mean', 'p50', 'p95', 'p99')},
        'within': _mean(row['within'] for row in rows)}


def blocks_frame(files: Files) -> pd.DataFrame:
    """Quality of both students for each value of the knob ``blocks``, on the
    images that both were profiled on; ± is over these images."""
    tables = [ProfileTable.read(path, 'complete')
              for path in (files.table, files.plain)]
    common = sorted(set.intersection(*(set(table.images) for table in tables)))
    dropped, plain = (
        table.take(torch.tensor([table.images.index(name) for name in common]))
        for table in tables)
    space = dropped.space
    full, place = space.choices(space.full), space.names.index('blocks')
    lines = {}
    for choice, blocks in enumerate(space.knobs[place].values):
        setting = space.index((*full[:place], choice, *full[place + 1:]))
        with_, without = (table.quality[:, setting] for table in (dropped, plain))
        lines[f'blocks {blocks}'] = {
            'trained with dropped blocks': f'{with_.mean():.3f}',
            'trained plainly': f'{without.mean():.3f}',
            'difference': _mean(with_ - without),
            'median ms': f'{dropped.latency[:, setting].median():.2f}'}
    return pd.DataFrame.from_dict(lines, orient='index')


def _mean(values: Any) -> str:
    interval = mean_interval(list(values))
    return _text(dict(mean=interval.mean, half_width=interval.half_width), 3)


def _text(value: dict[str, float], digits: int, sign: str = '') -> str:
    text = f'{value["mean"]:{sign}.{digits}f}'
    half = value.get('half_width', np.nan)
    return text if np.isnan(half) else f'{text} ± {half:.{digits}f}'
