"""Training curves of all methods."""

from collections.abc import Callable
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmrlkd.evaluation.results import Results, RunResult

from .style import MUTED, display_name, method_colours, styled

#: Reads the points of a curve off a run.
Read = Callable[[RunResult], list[list[float]]]


@styled()
def draw(results: Results) -> Figure | None:
    """Task loss, levels per image, reward and entropy over iterations.

    Panels nobody has a curve for are left out; a thin line is one seed of
    several. Phases are marked where the methods that have any agree on them.
    """
    panels = {
        'task loss': _task_loss,
        'distillation loss, weighted': _curve('loss_distill'),
        'logit loss, weighted': _curve('loss_logits'),
        'levels per image': _curve('levels_per_image'),
        'reward of an episode': _curve('reward'),
        'entropy of the policy, nats': _curve('policy_entropy'),
        'seconds per iteration': _curve('time'),
    }
    panels = {title: read for title, read in panels.items()
              if any(read(run) for run in results.runs)}
    if not panels:
        return None
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(8.4, 2.3 * rows + 0.4), layout='constrained')
    axes = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for panel, (title, read) in zip(axes, panels.items()):
        _lines(panel, results, read)
        panel.set_title(title, loc='left')
        _phases(panel, results.runs)
    for panel in axes[len(panels):]:
        panel.set_axis_off()
    for panel in axes[max(len(panels) - 2, 0):len(panels)]:
        panel.set_xlabel('iteration')
        panel.tick_params(labelbottom=True)
    lines = {line.get_label(): line for panel in axes
             for line in panel.get_lines()
             if not line.get_label().startswith('_')}
    figure.legend(lines.values(), lines.keys(), ncols=6,
                  loc='outside upper center')
    return figure


def _curve(name: str) -> Read:
    return lambda run: run.curves.get(name, [])


def _task_loss(run: RunResult) -> list[list[float]]:
    """The total less what distillation adds; iterations that have all."""
    added = [
        {iteration: value for iteration, value in run.curves.get(name, [])}
        for name, there in (('loss_distill', run.distils),
                            ('loss_logits', run.logit_gflops is not None))
        if there
    ]
    return [[iteration, value - sum(part[iteration] for part in added)]
            for iteration, value in run.curves.get('loss', [])
            if all(iteration in part for part in added)]


def _lines(panel: Axes, results: Results, read: Read) -> None:
    methods = results.by_method()
    colours = method_colours(methods)
    for method, runs in methods.items():
        several = len(runs) > 1
        for i, run in enumerate(runs):
            points = read(run)
            if points:
                panel.plot(
                    *zip(*points, strict=True), color=colours[method],
                    label='_' if i else display_name(method),
                    alpha=0.6 if several else 1,
                    linewidth=1.1 if several else 1.8)


def _phases(panel: Axes, runs: list[RunResult]) -> None:
    known = {tuple(map(tuple, run.phases)) for run in runs if run.phases}
    if len(known) != 1:
        return
    phases = known.pop()
    begin = 0
    ends = accumulate(length for _, length in phases)
    for (name, _), end in zip(phases, ends):
        if begin:
            panel.axvline(begin, color=MUTED, linestyle=':', linewidth=1)
        panel.annotate(
            name, ((begin + end) / 2, 1), (0, -2), ha='center', va='top',
            xycoords=panel.get_xaxis_transform(), fontsize=7.5, color=MUTED,
            textcoords='offset points')
        begin = end
    panel.margins(y=0.16)
