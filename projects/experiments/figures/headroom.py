"""What a choice for each image could win at each mean cost."""

from pathlib import Path

from matplotlib.figure import Figure

from projects.experiments.headroom import Headroom

from .style import INK, METHOD_COLOURS, MUTED, styled, to_png

#: Attributes of a row, with words and colours.
LINES = (
    ('optimum', 'best choice by image, of this signal', MUTED, ':'),
    ('repeated', 'chosen by another augmentation', METHOD_COLOURS['uniform'], '-'),
    ('told', 'chosen by what the state tells', METHOD_COLOURS['ppo'], '-'),
    ('mixture', 'best without a look at the image', INK, '--'),
    ('random', 'random', METHOD_COLOURS['random'], '-'),
)


@styled()
def draw(found: Headroom) -> Figure:
    """A line for each way to choose: gain over mean cost. The best fixed
    subset is a step; a ring marks costs at which a policy is worth trying."""
    figure = Figure(figsize=(7.2, 4.4), layout='constrained')
    axes = figure.subplots()
    costs = [row.cost for row in found.rows]
    for key, words, colour, style in LINES:
        axes.plot(costs, [getattr(row, key) for row in found.rows], style,
                  color=colour, label=words, marker='o', markersize=3)
    axes.step(costs, [row.fixed for row in found.rows], where='post',
              color=METHOD_COLOURS['fixed_subset'], linewidth=1,
              label='best fixed subset')
    worth = [row for row in found.rows if row.worth]
    axes.scatter([row.cost for row in worth], [row.told for row in worth],
                 s=90, facecolors='none', edgecolors=METHOD_COLOURS['ppo'],
                 label='worth trying')
    axes.set_xlabel('mean cost of an image')
    axes.set_ylabel('gain, best subset of each image = 1')
    figure.legend(fontsize=8.5, loc='outside lower center', ncols=3)
    return figure


def save(found: Headroom, png: Path) -> None:
    """Write the figure as PNG."""
    to_png(draw(found), png)
