"""Regret on a new task over the updates that adapt to it."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..statistics import mean_interval
from .style import MUTED, OTHER_COLOURS, styled, to_png


@styled()
def draw(means: pd.DataFrame, fixed: str) -> Figure:
    """A line for each learner; bars are 95 % intervals over the seeds, and the
    updates stand at equal distances.

    Args:
        means: ``method``, ``updates``, ``seed``, ``regret``.
        fixed: the fixed choice that a dashed line shows.
    """
    figure = Figure(figsize=(6.4, 4.2), layout='constrained')
    panel = figure.subplots()
    adapted = means[means.groupby('method').updates.transform('nunique') > 1]
    updates = sorted(adapted.updates.unique())
    for colour, (method, some) in zip(
            OTHER_COLOURS, adapted.groupby('method', sort=False), strict=False):
        points = [mean_interval(some[some.updates == count].regret)
                  for count in updates]
        bars = [point.half_width for point in points]
        panel.errorbar(
            range(len(updates)), [point.mean for point in points],
            None if any(map(pd.isna, bars)) else bars, marker='o', capsize=3,
            elinewidth=1.1, color=colour, label=str(method))
    panel.axhline(means[means.method == fixed].regret.mean(), color=MUTED,
                  linestyle='--', label=fixed)
    panel.set_xticks(range(len(updates)), [str(count) for count in updates])
    panel.set_xlabel('updates on the shots of the new task')
    panel.set_ylabel('regret to the best subset of each image')
    panel.legend(fontsize=8.5)
    return figure


def save(means: pd.DataFrame, fixed: str, png: Path) -> None:
    """Write the figure as PNG."""
    to_png(draw(means, fixed), png)
