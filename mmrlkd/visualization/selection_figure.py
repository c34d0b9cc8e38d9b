"""How often each level is selected, against difficulty."""

from matplotlib.figure import Figure

from mmrlkd.evaluation.results import Results

from .style import display_name, level_colours, stratum_name, styled
from .summary import adaptive_methods, mean_rates


@styled()
def draw(results: Results) -> Figure | None:
    """Bars for each stratum and level, a panel for each adaptive method.

    With several seeds a bar is their mean and a dot is one seed. None where
    no selector looked at the images.
    """
    methods = adaptive_methods(results)
    if not methods:
        return None
    figure = Figure(figsize=(8.4, 3.1 * len(methods)), layout='constrained')
    panels = figure.subplots(len(methods), squeeze=False)[:, 0]
    for panel, (method, runs) in zip(panels, methods.items(), strict=True):
        rates = mean_rates(runs)
        strata = [s for s in rates if s != 'all'] + ['all']
        levels = list(rates['all'])
        colours = level_colours(levels)
        width = 0.8 / len(levels)
        for j, level in enumerate(levels):
            places = [i + (j - (len(levels) - 1) / 2) * width
                      for i in range(len(strata))]
            means = [100 * rates[s][level] for s in strata]
            panel.bar(places, means, 0.88 * width, color=colours[level],
                      label=level)
            seeds = [[100 * run.selection[s][level] for s in strata]
                     for run in runs]
            if len(runs) > 1:
                for seed in seeds:
                    panel.plot(places, seed, 'o', color='white',
                               markeredgecolor=colours[level], markersize=3.5)
            for place, mean, top in zip(places, means, map(max, *seeds, means)):
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
        panel.set_title(f'levels that {display_name(method)} selects',
                        loc='left')
        panel.legend(ncols=len(levels), loc='lower right',
                     bbox_to_anchor=(1, 1), borderaxespad=0.1)
    return figure
