"""How the weights of the levels' losses moved in a run."""

import pandas as pd
from matplotlib.figure import Figure

from .style import MUTED, level_colours, styled

#: What the distiller logs, before the name of the level or ``task``.
WEIGHT = 'balance.'
NORM = 'gradient_norm.'
#: Also logged there, and no weight.
_COUNTS = ('skipped', )


@styled()
def draw(training: pd.DataFrame) -> Figure:
    """A line for each level's weight over the iterations; beneath, where the
    run reported them, the gradient norms that they answer to.

    Raises:
        ValueError: the run balanced nothing.
    """
    weights = _series(training, WEIGHT)
    if not weights:
        raise ValueError(
            f"no training record has a '{WEIGHT}…': the run balanced nothing; "
            'accepted: the work dir of a run with model.balancer or a '
            'GradNormHook.')
    norms = _series(training, NORM)
    figure = Figure(figsize=(8.4, 5.6 if norms else 3.2), layout='constrained')
    panels = figure.subplots(2 if norms else 1, squeeze=False, sharex=True)[:, 0]
    names = [name for name in weights if name != 'task']
    colours = level_colours(names) | {'task': MUTED}
    for panel, series, title in zip(
            panels, (weights, norms),
            ('weight of each loss', 'gradient norm at the shared layer')):
        for name, points in series.items():
            panel.plot(points.index, points, color=colours.get(name, MUTED),
                       label=name, marker='.' if len(points) == 1 else None)
        panel.set_title(title, loc='left')
    panels[0].axhline(1, color=MUTED, linestyle=':', linewidth=1)
    panels[0].set_ylim(bottom=0)
    if norms:
        panels[1].set_yscale('log')
    panels[-1].set_xlabel('iteration')
    lines = {line.get_label(): line for panel in panels
             for line in panel.get_lines()
             if not line.get_label().startswith('_')}
    figure.legend(lines.values(), lines.keys(), ncols=len(lines),
                  loc='outside upper center')
    return figure


def _series(training: pd.DataFrame, prefix: str) -> dict[str, pd.Series]:
    """The logged values of each name below ``prefix``, by iteration."""
    return {key.removeprefix(prefix): training[key].dropna()
            for key in training if key.startswith(prefix)
            and key.removeprefix(prefix) not in _COUNTS}
