"""Knobs: ways of running a built model cheaper or dearer than it is."""

from .base import Knob, RecordedKnob, Value
from .blocks import ResidualBlocks
from .input_scale import InputScale
from .proposals import Proposals
from .tiles import Tiles

__all__ = [
    'InputScale', 'Knob', 'Proposals', 'RecordedKnob', 'ResidualBlocks', 'Tiles',
    'Value'
]
