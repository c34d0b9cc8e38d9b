"""What distilling cost in training, and what the student became."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmrlkd.evaluation.estimate import Estimate
from mmrlkd.evaluation.results import Results, RunResult

from .style import INK, MUTED, display_name, method_colours, styled
from .summary import (
    Read,
    attribute,
    distill_gflops,
    measured,
    quality,
    summarise,
)

#: What those pay who distil nothing.
FREE = Estimate(0.0, None, 1)


@styled()
def draw(results: Results) -> Figure | None:
    """A point for each method: quality over nominal cost, and over GFLOPs.

    The student alone stands at 0, the teacher is a line. Bars are 95 %
    intervals. None where nothing was distilled.
    """
    methods = results.by_method()
    teacher = methods.pop('teacher', None)
    if not any(runs[0].distils for runs in methods.values()):
        return None
    probe = results.header.get('probe_size')
    figure = Figure(figsize=(8.4, 3.6), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    _points(panels[0], methods, attribute('distill_cost'))
    _points(panels[1], methods, distill_gflops)
    panels[0].set_xlabel('nominal distillation cost per image')
    panels[1].set_xlabel(
        'GFLOPs per ' + (f'{probe} px ' if probe else '') +
        'image, ' + (
            'levels, reward and logits' if any(
                run.logit_gflops is not None for run in results.runs)
            else 'levels and reward'))
    panels[0].set_ylabel(f'{results.task.quality} of the student')
    for panel in panels:
        if teacher:
            level = measured(teacher, quality).mean
            panel.axhline(level, color=MUTED, linestyle='--', linewidth=1.2)
            panel.annotate(
                f'teacher {level:.1f}', (1, level), xytext=(0, 4),
                xycoords=panel.get_yaxis_transform(), ha='right',
                textcoords='offset points', color=INK, fontsize=9)
        panel.margins(x=0.24, y=0.16)
    return figure


def _points(panel: Axes, methods: dict[str, list[RunResult]],
            cost: Read) -> None:
    colours = method_colours(methods)
    costs = {method: summarise(runs, cost) or FREE
             for method, runs in methods.items()}
    for i, method in enumerate(sorted(costs, key=lambda m: costs[m].mean)):
        x, y = costs[method], measured(methods[method], quality)
        panel.errorbar(
            x.mean, y.mean, y.half_width, x.half_width,
            marker='o', markersize=7, color=colours[method], capsize=3,
            elinewidth=1.2)
        # Under and over by turns: neighbours keep clear of each other.
        side = 1 if i % 2 else -1
        panel.annotate(
            f'{display_name(method)} {y.mean:.1f}',
            (x.mean, y.mean + side * (y.half_width or 0)),
            xytext=(0, 7 * side), textcoords='offset points', fontsize=9,
            ha='center', va='bottom' if side > 0 else 'top')
