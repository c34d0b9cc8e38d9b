"""Quality over mean cost: a line for each family, a panel for each world."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..front import non_dominated
from ..runs import TEACHER
from ..statistics import mean_interval
from .style import MUTED, display_name, method_colour, styled, to_png


@styled()
def draw(rows: pd.DataFrame, cost: str = 'distill_cost') -> Figure:
    """Bars are 95 % intervals over the trainings: paired differences are surer
    than these bars tell. Lines join entries that have all seeds of the study. Those
    that lack some stand beside them, hollow: their mean is over other students.
    Entries of fewer than three trainings are left out: Student's interval of two
    is nearly four times as wide.

    Args:
        rows: results of a study.
        cost: column of the costs.
    """
    worlds = rows.world.unique()
    figure = Figure(figsize=(5.6 * len(worlds), 5.2), layout='constrained')
    panels = figure.subplots(1, len(worlds), squeeze=False)[0]
    for panel, world in zip(panels, worlds, strict=True):
        _world(panel, rows[rows.world == world], cost)
        panel.set_title(world)
        panel.set_xlabel('mean nominal cost per image')
    panels[0].set_ylabel('mAP of the student')
    figure.legend(*panels[-1].get_legend_handles_labels(), fontsize=8.5,
                  loc='outside lower center', ncols=5)
    return figure


def save(rows: pd.DataFrame, png: Path, cost: str = 'distill_cost') -> None:
    """Write the figure as PNG, and beside it as SVG."""
    figure = draw(rows, cost)
    to_png(figure, png)
    with styled():
        FigureCanvasSVG(figure)
        figure.savefig(png.with_suffix('.svg'), format='svg',
                       metadata={'Date': None}, facecolor='white')


def _world(panel: Axes, rows: pd.DataFrame, cost: str) -> None:
    rows = rows[rows.entry != TEACHER]
    trainings = rows.groupby('entry').seed.transform('size')
    rows = rows.assign(whole=trainings == trainings.max())[trainings > 2]
    for (family, whole), some in rows[rows.family != ''].groupby(
            ['family', 'whole'], sort=False):
        points = sorted(
            (runs[cost].mean(), *mean_interval(runs.quality)[:2])
            for _, runs in some.groupby('entry'))
        x, y, half = zip(*points, strict=True)
        colour = method_colour(str(family))
        panel.errorbar(x, y, None if any(map(pd.isna, half)) else half,
                       fmt='o-' if whole else 'o', markersize=5, capsize=3,
                       elinewidth=1.1, color=colour,
                       markerfacecolor=colour if whole else 'white',
                       label=_label(display_name(str(family)), whole))
    for whole, some in rows[rows.subset != ''].groupby('whole'):
        fixed = {str(name): (runs[cost].mean(), runs.quality.mean())
                 for name, runs in some.groupby('entry')}
        panel.plot(*zip(*fixed.values(), strict=True), 'o', color=MUTED,
                   alpha=0.45, markersize=4, zorder=1,
                   markerfacecolor=MUTED if whole else 'none',
                   label=_label('fixed subsets', whole))
        if whole:
            panel.plot(*zip(*(fixed[name] for name in non_dominated(fixed)),
                            strict=True), color=MUTED, linewidth=1.2, zorder=1)
    alone = rows[rows.entry == 'student'].quality
    if len(alone):
        panel.axhline(alone.mean(), color=method_colour('student'),
                      linestyle=':', label='student alone')


def _label(name: str, whole: bool) -> str:
    return name if whole else f'{name}, fewer seeds'
