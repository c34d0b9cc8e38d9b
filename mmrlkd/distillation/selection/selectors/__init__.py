"""All selectors; :class:`Selector` is their interface."""

from .base import Selector
from .control import ControlChoice, ControlSelector
from .darts import DARTSSelector
from .gated import GateDiagnostics, GatedSelector
from .gdas import GDASSelector
from .greedy import GreedySelector
from .group import GroupSelector
from .policy import PolicyChoice, PolicySelector
from .static import (
    ConstantSelector,
    FixedSelector,
    ManualDeepSelector,
    ManualShallowSelector,
    NoneSelector,
    RandomSelector,
    UniformSelector,
)
from .subset_search import SearchDiagnostics, SubsetSearch

__all__ = [
    'ConstantSelector', 'ControlChoice', 'ControlSelector', 'DARTSSelector',
    'FixedSelector', 'GDASSelector', 'GateDiagnostics', 'GatedSelector',
    'GreedySelector', 'GroupSelector', 'ManualDeepSelector',
    'ManualShallowSelector', 'NoneSelector', 'PolicyChoice', 'PolicySelector',
    'RandomSelector', 'SearchDiagnostics', 'Selector',
    'SubsetSearch', 'UniformSelector'
]
