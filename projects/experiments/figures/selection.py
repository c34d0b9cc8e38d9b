"""How often each level is selected, against difficulty."""

import pandas as pd
from matplotlib.figure import Figure

from .style import display_name, level_colours, stratum_name, styled

ALL = 'all'


def adaptive(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods that look at the image, where rates are known."""
    known = f'select/{ALL}/'
    if 'adaptive' not in table or not any(c.startswith(known) for c in table):
        return table.iloc[:0]
    return table[table.adaptive.fillna(False).astype(bool)]


@styled()
def draw(table: pd.DataFrame) -> Figure | None:
    """Bars for each stratum and level, a panel for each adaptive method.

    With several seeds a bar is their mean and a dot is one seed. None where
    no selector looked at the images.
    """
    table = adaptive(table)
    if table.empty:
        return None
    methods = dict(iter(table.groupby('method', sort=False)))
    figure = Figure(figsize=(8.4, 3.1 * len(methods)), layout='constrained')
    panels = figure.subplots(len(methods), squeeze=False)[:, 0]
    for panel, (method, runs) in zip(panels, methods.items(), strict=True):
        keys = [c.split('/')[1:] for c in runs if c.startswith('select/')
                and runs[c].notna().all()]
        strata = [s for s in dict.fromkeys(s for s, _ in keys) if s != ALL]
        strata.append(ALL)
        levels = list(dict.fromkeys(level for _, level in keys))
        colours = level_colours(levels)
        width = 0.8 / len(levels)
        for j, level in enumerate(levels):
            places = [i + (j - (len(levels) - 1) / 2) * width
                      for i in range(len(strata))]
            seeds = 100 * runs[[f'select/{s}/{level}' for s in strata]]
            means = seeds.mean()
            panel.bar(places, means, 0.88 * width, color=colours[level],
                      label=level)
            if len(runs) > 1:
                for seed in seeds.to_numpy():
                    panel.plot(places, seed, 'o', color='white',
                               markeredgecolor=colours[level], markersize=3.5)
            for place, mean, top in zip(places, means, seeds.max()):
                panel.annotate(
                    f'{mean:.0f}', (place, top), xytext=(0, 3), ha='center',
                    textcoords='offset points', fontsize=8)
        if len(strata) > 1:
            panel.axvline(len(strata) - 1.5, color='0.5', linewidth=0.8)
        panel.set_xticks(range(len(strata)), map(stratum_name, strata))
        panel.tick_params(axis='x', length=0)
        panel.grid(axis='x', visible=False)
        panel.set_ylim(0, 112)
        panel.set_yticks(range(0, 101, 25))
        panel.set_ylabel('% of images')
        panel.set_title(f'levels selected by {display_name(str(method))}',
                        loc='left')
        panel.legend(ncols=len(levels), loc='lower right',
                     bbox_to_anchor=(1, 1), borderaxespad=0.1)
    return figure
