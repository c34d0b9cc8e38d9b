"""Validation images with the levels chosen for them."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import FancyBboxPatch, Rectangle

from mmrlkd.evaluation.results import Example, Results

from .style import MUTED, display_name, level_colours, stratum_name, styled
from .summary import adaptive_methods

_BOX = '#ffd33d'
#: Height of a row of badges, in image heights.
_BADGE = 0.17


@styled()
def draw(results: Results) -> Figure | None:
    """A column for each stratum; under an image, its levels.

    A level that is lit was selected. With several adaptive methods each has a
    row. None where there is no example, or no image of one is left.
    """
    examples = [e for e in results.examples if Path(e.path).is_file()]
    if not examples:
        return None
    methods = adaptive_methods(results)
    levels = next((list(runs[0].selection['all'])
                   for runs in methods.values()), [])
    columns: dict[str, list[Example]] = {}
    for example in examples:
        columns.setdefault(example.stratum, []).append(example)
    rows = max(map(len, columns.values()))
    height = 1 + _BADGE * len(methods)
    figure = Figure(
        figsize=(1.8 * len(columns), (1.8 * height + 0.1) * rows + 0.3),
        layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.03))
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for panel in axes.ravel():
        panel.set_axis_off()
    for column, (stratum, some) in zip(axes.T, columns.items(), strict=True):
        column[0].set_title(stratum_name(stratum), fontsize=9.5)
        for panel, example in zip(column, some):
            _image(panel, example)
            for i, method in enumerate(methods):
                name = display_name(method) if len(methods) > 1 else ''
                _badges(panel, i, levels, example.levels[method], name)
    return figure


def _image(panel: Axes, example: Example) -> None:
    pixels = imread(example.path)
    # In units of the image, so that badges can be placed beneath it.
    height, width = pixels.shape[:2]
    panel.imshow(pixels, extent=(0, 1, 1, 0), interpolation='none',
                 aspect=height / width)
    for x, y, w, h in example.boxes:
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
        panel.text(0, top + _BADGE / 2 + 0.02, name, fontsize=7, va='center')
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


