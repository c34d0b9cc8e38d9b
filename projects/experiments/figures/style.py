"""How figures look, and how they leave: SVG for the page, PNG for the docs."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

#: Text and axes. In an SVG it becomes the colour of the page's text, so that
#: a figure can be read in the dark, too.
INK = '#24292f'
#: What recedes, and can be seen on white and on black.
MUTED = '#8b949e'
#: Each method's colour, the same in every figure.
METHOD_COLOURS = {
    'teacher': MUTED, 'student': '#0c8f99', 'kd': '#6e4b1f',
    'uniform': '#2f81f7', 'random': '#e8590c', 'ppo': '#2da44e',
    'fixed_subset': '#1b3a8a',
    'gated': '#bf8700', 'greedy': '#a61e4d', 'grpo': '#117a37',
    'reinforce': '#6a9a1f', 'gradnorm': '#8250df', 'pcgrad': '#c0399f',
    'darts': '#b3261e', 'gdas': '#ff6b57', 'evolution': '#9c6ade',
    'exhaustive': '#4b2e83', 'controller': '#c2570c',
    'expected_reward': '#1a7f37', 'worth': '#116329', 'by_objects': '#57606a',
    'shuffled': '#d63384', 'worth_shuffled': '#e0559a',
}
#: Fixed subsets, such as P3 or P4+P5, and methods that are not known here have
#: colours that no known method has.
SUBSET_COLOUR = '#6e7781'
OTHER_COLOURS = ('#0a3069', '#953800', '#4d2d00', '#116e6e', '#7a0045')
#: One colour a level, finest first.
LEVEL_COLOURS = ('#e8590c', '#d19a00', '#2da44e', '#2f81f7', '#a371f7',
                 '#d6336c', '#0ca5b0')
PNG_DPI = 160

_SETTINGS: dict[Any, Any] = {
    'axes.axisbelow': True,
    'axes.edgecolor': MUTED,
    'axes.facecolor': 'none',
    'axes.grid': True,
    'axes.labelcolor': INK,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlecolor': INK,
    'axes.titlesize': 10.5,
    'axes.titleweight': 'bold',
    'figure.facecolor': 'none',
    'font.size': 10,
    'grid.alpha': 0.3,
    'grid.color': MUTED,
    'legend.frameon': False,
    'lines.linewidth': 1.8,
    'savefig.facecolor': 'none',
    'svg.fonttype': 'path',
    'svg.hashsalt': 'mmrlkd',  # the same figure gives the same bytes
    'text.color': INK,
    'xtick.color': INK,
    'ytick.color': INK,
}

_NAMES = {
    'ppo': 'PPO', 'grpo': 'GRPO', 'reinforce': 'REINFORCE', 'lad': 'LAD',
    'cmapkd': 'CMAPKD', 'kd': 'KD of logits', 'student': 'student alone',
    'worth_shuffled': 'worth, shuffled',
}


def styled():
    """Decorates what draws or saves; nothing global stays changed."""
    return matplotlib.rc_context(_SETTINGS)


def display_name(method: str) -> str:
    """``'ppo'`` -> ``'PPO'``; a word of a table or a figure."""
    return _NAMES.get(method, method.replace('_', ' ').replace('-', ' '))


def stratum_name(stratum: str) -> str:
    """``'1-3'`` -> ``'1–3 objects'``."""
    if stratum[:1].isdigit() or stratum.startswith('>'):
        return f'{stratum.replace("-", "–")} objects'
    return {'all': 'all images', 'dense_small': 'dense, small'}.get(
        stratum, stratum.replace('_', ' '))


def method_colour(method: str) -> str:
    """A method's own colour; of one that is not known here, one that depends
    on its name alone."""
    name = method.replace('-', '_')
    if name in METHOD_COLOURS:
        return METHOD_COLOURS[name]
    if re.fullmatch(r'[A-Z]\d+(\+[A-Z]\d+)*', name):
        return SUBSET_COLOUR
    return OTHER_COLOURS[crc32(name.encode()) % len(OTHER_COLOURS)]


def level_colours(levels: Sequence[str]) -> dict[str, str]:
    """A colour for each level."""
    return {level: LEVEL_COLOURS[i % len(LEVEL_COLOURS)]
            for i, level in enumerate(levels)}


@styled()
def to_svg(figure: Figure, label: str) -> str:
    """An ``<svg>`` element to put into a page; it refers to nothing outside.

    Args:
        figure: to be drawn.
        label: what it shows, for those who cannot see it.
    """
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', metadata={'Date': None})
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg'):]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', '', svg)
    svg = svg.replace('xlink:href', 'href').replace(INK, 'currentColor')
    return svg.replace('<svg ', f'<svg role="img" aria-label="{label}" ', 1)


@styled()
def to_png(figure: Figure, path: Path) -> None:
    """Write a figure, on white."""
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format='png', dpi=PNG_DPI, facecolor='white')
