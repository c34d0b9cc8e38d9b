"""Knobs: ways of running a built model cheaper or dearer than it is."""

from .base import Knob, RecordedKnob, Value
from .blocks import ResidualBlocks
from .input_scale import InputScale

__all__ = ['InputScale', 'Knob', 'RecordedKnob', 'ResidualBlocks', 'Value']
