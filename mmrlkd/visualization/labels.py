"""Names beside points, clear of each other."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

#: Where a name may stand, from its point, in points; the nearest first.
_PLACES = [
    (dx * reach, dy * reach) for reach in (7, 12, 18, 26, 36)
    for dx, dy in product((1, -1, 0), (1, -1, 0)) if dx or dy
]
#: Half the width of what a point or a line occupies, in pixels.
_POINT = 4
Line = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Label:
    """A name, the point that it belongs to, and how it is written."""
    text: str
    x: float
    y: float
    style: dict[str, Any]


def place_labels(panel: Axes, labels: Iterable[Label],
                 lines: Iterable[Line]) -> None:
    """Write names where they cover as little as can be.

    Args:
        panel: with its limits set.
        labels: the first choose their places first.
        lines: upright, level, or as short as a point; to be kept free.
    """
    figure = panel.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # the layout decides where points are
    taken = []
    for line in lines:
        (x0, y0), (x1, y1) = panel.transData.transform(line)
        taken.append(Bbox.from_extents(
            x0 - _POINT, y0 - _POINT, x1 + _POINT, y1 + _POINT))
    for label in labels:
        choices = []
        for dx, dy in _PLACES:
            note = panel.annotate(
                label.text, (label.x, label.y), xytext=(dx, dy),
                textcoords='offset points', annotation_clip=False,
                ha='left' if dx > 0 else 'right' if dx < 0 else 'center',
                va='bottom' if dy > 0 else 'top' if dy < 0 else 'center',
                **label.style)
            box = note.get_window_extent(canvas.get_renderer())
            choices.append((_covered(box, taken, panel.bbox), note, box))
        _, best, box = min(choices, key=lambda choice: choice[0])
        for _, note, _ in choices:
            if note is not best:
                note.remove()
        taken.append(box)


def _covered(box: Bbox, taken: list[Bbox], inside: Bbox) -> float:
    """Area that a name shares with others, or has outside of the panel."""
    area = box.width * box.height
    within = Bbox.intersection(box, inside)
    outside = area - (within.width * within.height if within else 0)
    shared = (Bbox.intersection(box, other) for other in taken)
    return outside + sum(s.width * s.height for s in shared if s)
