"""Validation images with the levels chosen for them."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import FancyBboxPatch, Rectangle

from ..selections import Selections, pick_examples
from .style import MUTED, display_name, level_colours, stratum_name, styled

_BOX = '#ffd33d'
#: Height of a row of badges, in image heights.
_BADGE = 0.17


def caption(selections: Mapping[str, Selections]) -> str:
    """How the images were picked, and who gives all the same levels."""
    same = [f'{display_name(method)} ({some.images.levels.iloc[0] or "none"})'
            for method, some in selections.items()
            if some.images.levels.nunique() == 1]
    return (
        'Of each stratum, images with choices that no other picture shows come '
        'first. Boxes are the ground truth; a level that is lit was selected.'
        + (f' The same levels for all images: {", ".join(same)}.'
           if same else ''))


@styled()
def draw(selections: Mapping[str, Selections]) -> Figure | None:
    """A column for each stratum; under an image, its levels.

    With several adaptive methods each has a row of badges; the first decides
    which images are shown. None where there is no image to show.

    Args:
        selections: of each adaptive method, on the same images.
    """
    if not selections:
        return None
    first = next(iter(selections.values()))
    images = first.images[[Path(path).is_file() for path in first.images.path]]
    picked = pick_examples(images)
    if picked.empty:
        return None
    columns = dict(iter(picked.groupby('stratum', sort=False)))
    rows = max(map(len, columns.values()))
    height = 1 + _BADGE * len(selections)
    figure = Figure(
        figsize=(1.8 * len(columns), (1.8 * height + 0.1) * rows + 0.3),
        layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.03))
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for panel in axes.ravel():
        panel.set_axis_off()
    for column, (stratum, some) in zip(axes.T, columns.items(), strict=True):
        column[0].set_title(stratum_name(str(stratum)), fontsize=9.5)
        for panel, (place, image) in zip(column, some.iterrows()):
            _image(panel, image)
            for i, (method, each) in enumerate(selections.items()):
                _badges(panel, i, list(first.levels),
                        each.images.levels[place].split(),
                        display_name(method) if len(selections) > 1 else '')
    return figure


def _image(panel: Axes, image: pd.Series) -> None:
    pixels = imread(image.path)
    # In units of the image, so that badges can be placed beneath it.
    height, width = pixels.shape[:2]
    panel.imshow(pixels, extent=(0, 1, 1, 0), interpolation='none',
                 aspect=height / width)
    for x, y, w, h in image.boxes:
        panel.add_patch(Rectangle(
            (x / width, y / height), w / width, h / height, fill=False,
            edgecolor=_BOX, linewidth=1))


def _badges(panel: Axes, row: int, levels: list[str], lit: list[str],
            name: str) -> None:
    """A row of badges beneath the image, one for each level."""
    colours = level_colours(levels)
    left = 0.36 if name else 0.0
    top = 1 + _BADGE * row
    pitch = (1 - left) / len(levels)
    if name:
        panel.text(0, top + _BADGE / 2 + 0.02, fill(name, 12), fontsize=7,
                   va='center', linespacing=1)
    for i, level in enumerate(levels):
        on = level in lit
        panel.add_patch(FancyBboxPatch(
            (left + i * pitch + 0.03, top + 0.06), pitch - 0.06, _BADGE - 0.08,
            boxstyle='round,pad=0,rounding_size=0.03', linewidth=0.9,
            facecolor=colours[level] if on else 'none',
            edgecolor=colours[level] if on else MUTED, clip_on=False))
        panel.text(
            left + (i + 0.5) * pitch, top + 0.02 + _BADGE / 2, level,
            ha='center', va='center_baseline', fontsize=7.5,
            weight='bold' if on else 'normal',
            color='white' if on else MUTED)
    panel.set_ylim(max(panel.get_ylim()[0], top + _BADGE), 0)
    panel.set_xlim(0, 1)


