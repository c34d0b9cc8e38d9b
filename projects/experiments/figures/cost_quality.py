"""What distilling cost in training, and what the student became."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..front import non_dominated
from ..runs import TEACHER
from ..statistics import mean_interval
from .labels import Label, place_labels
from .style import MUTED, display_name, method_colour, styled, to_png

COST = {'distill_cost': 'nominal distillation cost per image'}
COSTS = COST | {'gflops': 'GFLOPs per image: levels, reward, logits, descriptors'}


@styled()
def draw(table: pd.DataFrame, costs: Mapping[str, str] = COSTS) -> Figure | None:
    """A point for each method: quality over each cost.

    The student alone stands at 0, the teacher is told above. Bars are 95 %
    intervals over seeds. Fixed subsets that only the front needs are grey, a
    line joins those that no other is better than. None where nothing was
    distilled.

    Args:
        table: of results.
        costs: columns of it, with the words for them; a panel for each.
    """
    students = table[table.method != TEACHER]
    if students.distill_cost.isna().all():
        return None
    figure = Figure(figsize=(8.4, 4.2 if len(costs) > 1 else 5.2),
                    layout='constrained')
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for panel, (cost, words) in zip(panels, costs.items(), strict=True):
        panel.set_xlabel(words)
        panel.margins(x=0.24 if len(costs) > 1 else 0.12, y=0.16)
        labels, lines = _points(panel, students, cost)
        low, high = panel.get_xlim()
        # What lies left of 0 is room for names: nothing costs less.
        panel.set_xticks([tick for tick in panel.get_xticks() if 0 <= tick <= high])
        panel.set_xlim(low, high)
        place_labels(panel, labels, lines)
    panels[0].set_ylabel(f'{table.quality_name.iloc[0]} of the student')
    teacher = table[table.method == TEACHER]
    if len(teacher):
        # Not a line: the students' differences need the room below it.
        panels[-1].set_title(
            f'teacher: {teacher.quality.mean():.1f}', loc='right', fontsize=9,
            fontweight='normal')
    return figure


def save(table: pd.DataFrame, png: Path) -> bool:
    """Write the figure of a comparison as PNG, and beside it as SVG; False
    where nothing was distilled."""
    figure = draw(table, COST)
    if figure is None:
        return False
    to_png(figure, png)
    with styled():
        FigureCanvasSVG(figure)
        figure.savefig(png.with_suffix('.svg'), format='svg',
                       metadata={'Date': None}, facecolor='white')
    return True


def _points(panel: Axes, students: pd.DataFrame,
            cost: str) -> tuple[list[Label], list]:
    """Draw the points; their names, and what these are to keep free."""
    # Who distils nothing pays nothing.
    students = students.assign(**{cost: students[cost].fillna(0.0)})
    labels, lines = [], []
    for method, runs in students[~students.hindsight].groupby(
            'method', sort=False):
        x, y = mean_interval(runs[cost]), mean_interval(runs.quality)
        dx, dy = (0 if pd.isna(value.half_width) else value.half_width
                  for value in (x, y))
        colour = method_colour(str(method))
        panel.errorbar(x.mean, y.mean, dy or None, dx or None, marker='o',
                       markersize=7, color=colour, capsize=3, elinewidth=1.2)
        lines += [((x.mean, y.mean - dy), (x.mean, y.mean + dy)),
                  ((x.mean - dx, y.mean), (x.mean + dx, y.mean))]
        labels.append(Label(f'{display_name(str(method))} {y.mean:.1f}',
                            x.mean, y.mean, colour, dict(fontsize=9)))
    if students.hindsight.any():
        fixed = {str(name): (row[cost], row.quality) for name, row in
                 students[students.subset != ''].groupby('method')[
                     [cost, 'quality']].mean().iterrows()}
        front = non_dominated(fixed)
        panel.plot(*zip(*fixed.values(), strict=True), 'o', color=MUTED,
                   alpha=0.45, markersize=5, label='fixed subsets', zorder=1)
        panel.plot(*zip(*(fixed[name] for name in front), strict=True),
                   color=MUTED, linewidth=1.4, zorder=1,
                   label='not dominated, chosen with hindsight')
        panel.legend(loc='lower right', fontsize=8.5)
        named = set(students[~students.hindsight].method)
        labels += [Label(name, *fixed[name], MUTED, dict(fontsize=7.5))
                   for name in front if name not in named]
        lines += [(point, point) for point in fixed.values()]
    return labels, lines
