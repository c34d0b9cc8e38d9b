"""Quality against cost of compared methods, and the best that is fixed."""

from pathlib import Path

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from mmrlkd.experiments.comparison import ComparedRun, Comparison, by_method

from .cost_quality import FREE
from .labels import Label, place_labels
from .style import MUTED, display_name, method_colours, styled, to_png
from .summary import attribute, measured, quality, summarise

_cost = attribute('distill_cost')


@styled()
def draw(comparison: Comparison) -> Figure:
    """A point for each method: quality over nominal cost; bars are 95 %
    intervals. Behind them every fixed subset that was trained, and a line
    through those that no other is better than."""
    figure = Figure(figsize=(8.4, 5.2), layout='constrained')
    panel = figure.subplots()
    panel.set_xlabel('nominal distillation cost per image, in training')
    methods = by_method(comparison.members)
    task = comparison.task
    panel.set_ylabel(f'{task.quality} of the student')
    teacher = methods.pop('teacher', None)
    if teacher:
        # Not a line: the students' differences need the room below it.
        level = measured([*teacher], quality).mean
        panel.set_title(f'the teacher has {level:.1f} {task.main.name}',
                        loc='right', fontsize=9, fontweight='normal')
    fixed = {name: _place(runs) for name, runs in comparison.fixed.items()}
    front = comparison.front
    if comparison.subsets:
        panel.plot(
            *zip(*fixed.values(), strict=True), 'o', color=MUTED, alpha=0.45,
            markersize=5, linestyle='', label=_subsets(comparison))
        panel.plot(
            *zip(*(fixed[name] for name in front), strict=True), color=MUTED,
            linewidth=1.4, label='not dominated, chosen with hindsight on the '
            'test split')
    colours = method_colours(methods)
    labels, bars = [], []
    for method, runs in methods.items():
        cost = summarise([*runs], _cost) or FREE
        value = measured([*runs], quality)
        panel.errorbar(
            cost.mean, value.mean, value.half_width, cost.half_width,
            marker='o', markersize=7, color=colours[method], capsize=3,
            elinewidth=1.2)
        bars += [((cost.mean, value.mean - (value.half_width or 0)),
                  (cost.mean, value.mean + (value.half_width or 0))),
                 ((cost.mean - (cost.half_width or 0), value.mean),
                  (cost.mean + (cost.half_width or 0), value.mean))]
        labels.append(Label(
            f'{display_name(method)} {value.mean:.1f}', cost.mean, value.mean,
            dict(fontsize=9)))
    if comparison.subsets:
        labels += [Label(name, *fixed[name], dict(fontsize=7.5, alpha=0.7))
                   for name in front if name not in methods]
        figure.legend(loc='outside lower center', ncols=2, fontsize=8.5)
    panel.margins(x=0.1, y=0.12)
    place_labels(panel, labels, [
        *bars, *((point, point) for point in fixed.values())])
    return figure


def save(comparison: Comparison, png: Path) -> None:
    """Write the figure as PNG, and beside it as SVG."""
    figure = draw(comparison)
    to_png(figure, png)
    with styled():
        FigureCanvasSVG(figure)
        figure.savefig(png.with_suffix('.svg'), format='svg',
                       metadata={'Date': None}, facecolor='white')


def _place(runs: list[ComparedRun]) -> tuple[float, float]:
    return measured([*runs], _cost).mean, measured([*runs], quality).mean


def _subsets(comparison: Comparison) -> str:
    count = len({runs[0].subset for runs in comparison.fixed.values()})
    return (f'all {count} fixed subsets' if comparison.exhaustive else
            f'{count} of {comparison.possible} fixed subsets')
