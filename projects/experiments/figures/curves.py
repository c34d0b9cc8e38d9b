"""Training curves of all methods."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import MUTED, display_name, method_colour, styled

_PANELS = {
    'task_loss': 'task loss',
    'loss_distill': 'distillation loss, weighted',
    'loss_logits': 'logit loss, weighted',
    'levels_per_image': 'levels per image',
    'reward': 'reward of an episode',
    'policy_entropy': 'entropy of the policy, nats',
    'time': 'seconds per iteration',
}
Phases = Sequence[tuple[str, float]]


@styled()
def draw(logs: Mapping[tuple[str, int], pd.DataFrame],
         phases: Mapping[str, Phases]) -> Figure | None:
    """Losses, levels per image, reward and entropy over iterations.

    Panels nobody has a curve for are left out; a thin line is one seed of
    several. Phases are marked where the methods that have any agree on them.

    Args:
        logs: training records by method and seed, see
            :func:`projects.experiments.logs.read_training`.
        phases: name and iterations of each, by method.
    """
    logs = {run: _with_task_loss(log) for run, log in logs.items()}
    panels = [key for key in _PANELS if any(key in log for log in logs.values())]
    if not panels:
        return None
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(8.4, 2.3 * rows + 0.4), layout='constrained')
    axes = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    methods = [method for method, _ in logs]
    agreed = {tuple(map(tuple, some)) for some in phases.values() if some}
    lines = {}
    for panel, key in zip(axes, panels):
        panel.set_title(_PANELS[key], loc='left')
        for (method, _), log in logs.items():
            if key not in log:
                continue
            several = methods.count(method) > 1
            curve = log[key].replace([np.inf, -np.inf], np.nan).dropna()
            lines[display_name(method)], = panel.plot(
                curve.index, curve, color=method_colour(method),
                alpha=0.6 if several else 1, linewidth=1.1 if several else 1.8)
        if len(agreed) == 1:
            _mark(panel, next(iter(agreed)))
    for panel in axes[len(panels):]:
        panel.set_axis_off()
    for panel in axes[max(len(panels) - 2, 0):len(panels)]:
        panel.set_xlabel('iteration')
        panel.tick_params(labelbottom=True)
    figure.legend(lines.values(), lines.keys(), ncols=6,
                  loc='outside upper center')
    return figure


def _with_task_loss(log: pd.DataFrame) -> pd.DataFrame:
    """The total less what distillation adds."""
    if 'loss' not in log:
        return log
    added = [log[key] for key in ('loss_distill', 'loss_logits') if key in log]
    return log.assign(task_loss=log['loss'] - sum(added))


def _mark(panel: Axes, phases: Phases) -> None:
    begin = 0.0
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
