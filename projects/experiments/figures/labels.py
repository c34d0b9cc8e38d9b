"""Names beside points, clear of each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import hypot, inf
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

#: Where a name may stand, from its point, in points; the nearest first.
_PLACES = [
    (dx * reach, dy * reach)
    for reach in (7, 10, 14, 18, 24, 30, 38, 48, 60)
    for dx, dy in product((1, -1, 0, .5, -.5), (1, -1, 0, .5, -.5)) if dx or dy
]
#: Half the width of what a point or a line occupies, in pixels.
_POINT = 4
Line = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Label:
    """A name, the point that it belongs to, its colour, and how it is
    written."""
    text: str
    x: float
    y: float
    colour: str
    style: dict[str, Any] = field(default_factory=dict)


def place_labels(panel: Axes, labels: Sequence[Label],
                 lines: Iterable[Line]) -> None:
    """Write names in the colour of their points, where they cover nothing.

    A place where the name is nearer to another point than to its own is taken
    only if there is no other; so is one that covers something.

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
    points = [panel.transData.transform((label.x, label.y)) for label in labels]
    written: list[Bbox] = []
    for label, own in zip(labels, points):
        best, best_cost, best_box = None, (inf, inf, inf), None
        for dx, dy in _PLACES:
            note = panel.annotate(
                label.text, (label.x, label.y), xytext=(dx, dy),
                textcoords='offset points', annotation_clip=False,
                color=label.colour,
                ha='left' if dx > 0 else 'right' if dx < 0 else 'center',
                va='bottom' if dy > 0 else 'top' if dy < 0 else 'center',
                **label.style)
            box = note.get_window_extent(canvas.get_renderer())
            far = sum(distance(box, other) <= distance(box, own)
                      for other in points if tuple(other) != tuple(own))
            cost = (_covered(box, written), far,
                    _covered(box, taken) + _outside(box, panel.bbox))
            if cost < best_cost:
                if best is not None:
                    best.remove()
                best, best_cost, best_box = note, cost, box
            else:
                note.remove()
            if best_cost == (0, 0, 0):
                break
        assert best_box is not None
        written.append(best_box)


def distance(box: Bbox, point: Sequence[float]) -> float:
    """From a box to a point; 0 inside."""
    return hypot(max(box.x0 - point[0], 0, point[0] - box.x1),
                 max(box.y0 - point[1], 0, point[1] - box.y1))


def _covered(box: Bbox, taken: list[Bbox]) -> float:
    shared = (Bbox.intersection(box, other) for other in taken)
    return sum(s.width * s.height for s in shared if s)


def _outside(box: Bbox, panel: Bbox) -> float:
    within = Bbox.intersection(box, panel)
    return box.width * box.height - (
        within.width * within.height if within else 0)
