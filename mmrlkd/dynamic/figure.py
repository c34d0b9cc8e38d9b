"""The figure of a comparison of controllers."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmrlkd.engine.atomic import write_atomically

from .comparison import BOUNDED, MIXED, ORACLE, RANDOM, STATIC, interval
from .training import EXACT, WARM_START

#: Colour and line of each method; the algorithm that the config names is green.
_LINES = {
    ORACLE: ('#8b949e', ':'), EXACT: ('#2f81f7', '-'),
    WARM_START: ('#bf8700', '-'), STATIC: ('#24292f', '--'),
    BOUNDED: ('#0c8f99', '--'), MIXED: ('#6f42c1', '--'), RANDOM: ('#e8590c', '-')}
_ALGORITHM = ('#117a37', '-')
#: Of groups of neighbouring strata, easy ones first.
_STRATA = ('#a6d8b0', '#5fb878', '#2a8f4a', '#04361a')


def save_figure(rows: pd.DataFrame, choices: pd.DataFrame, algorithm: str,
                held_out: float, path: Path) -> None:
    """Write :func:`draw` as PNG."""
    figure = draw(rows, choices, algorithm, held_out)
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=160, facecolor='white')
    write_atomically(path, buffer.getvalue())


def draw(rows: pd.DataFrame, choices: pd.DataFrame, algorithm: str,
         held_out: float) -> Figure:
    """Three panels over the budget: quality of each method, what the controller
    spends by difficulty, and how often budgets are kept.

    Args:
        rows: of :func:`.comparison.compare`, with a column ``seed``.
        choices: likewise.
        algorithm: name of the controller whose choices are shown.
        held_out: see :func:`.comparison.interval`.
    """
    figure = Figure(figsize=(12.6, 4.2), layout='constrained')
    quality, spent, kept = figure.subplots(1, 3)
    for method, some in rows.groupby('method', sort=False):
        colour, style = _LINES.get(str(method), _ALGORITHM)
        _line(quality, some, 'quality', held_out, str(method), colour, style)
    quality.set_ylabel('mean quality of held-out images')
    quality.legend(fontsize=8, frameon=False)

    chosen = choices[choices.method == algorithm]
    for strata, colour in zip(
            np.array_split(in_order(chosen.difficulty.unique()), len(_STRATA)),
            _STRATA):
        if len(strata):
            label = ' to '.join(dict.fromkeys((strata[0], strata[-1])))
            _line(spent, _joined(chosen[chosen.difficulty.isin(strata)]),
                  'latency_ms', held_out, label or 'all images', colour, '-')
    spent.set_ylabel(f'mean latency of what {algorithm} chooses, ms')
    spent.legend(fontsize=8, frameon=False, title='difficulty')

    for method in (algorithm, STATIC, MIXED):
        colour, style = _LINES.get(method, _ALGORITHM)
        _line(kept, rows[rows.method == method], 'within', held_out, method,
              colour, style)
    kept.axhline(0.95, color='#8b949e', linewidth=1)
    kept.set_ylim(top=1.005)  # an interval may reach beyond what a share can be
    kept.set_ylabel('share of images within the budget')
    kept.legend(fontsize=8, frameon=False)
    for panel in (quality, spent, kept):
        panel.set_xscale('log')
        panel.set_xlabel('budget, ms')
        budgets = np.sort(rows.budget.unique())
        panel.set_xticks(budgets, [f'{each:g}' for each in budgets])
        panel.minorticks_off()
        panel.spines[['top', 'right']].set_visible(False)
        panel.grid(alpha=0.3)
    return figure


def in_order(strata: Iterable[str]) -> list[str]:
    """Strata by the number that they begin with, or by name."""
    def key(stratum: str) -> tuple[float, str]:
        digits = ''.join(c if c.isdigit() else ' ' for c in stratum).split()
        return (float(digits[0]) + stratum.startswith('>') if digits else np.inf,
                stratum)

    return sorted(strata, key=key)


def _line(panel: Axes, rows: pd.DataFrame, column: str, held_out: float,
          label: str, colour: str, style: str) -> None:
    """Means over the seeds, with their intervals."""
    each = rows.groupby('budget')[column].apply(
        lambda values: pd.Series(interval(values, held_out))).unstack()
    panel.errorbar(
        each.index, each['mean'], each['half_width'].fillna(0.), fmt=style,
        color=colour, marker='o', markersize=4, capsize=2, linewidth=1.6,
        elinewidth=0.9, label=label)


def _joined(choices: pd.DataFrame) -> pd.DataFrame:
    """One row for each seed and budget: the mean over the images of its strata."""
    total = choices.assign(latency_ms=choices.latency_ms * choices.images).groupby(
        ['seed', 'budget'], as_index=False)[['latency_ms', 'images']].sum()
    return total.assign(latency_ms=total.latency_ms / total.images)
