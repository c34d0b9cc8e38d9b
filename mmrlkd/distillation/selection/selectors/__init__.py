"""Everything that chooses levels."""

from .base import Selector
from .darts import DARTSSelector
from .gated import GateDiagnostics, GatedSelector
from .gdas import GDASSelector
from .greedy import GreedySelector
from .group import GroupSelector
from .policy import PolicySelector
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
    'ConstantSelector', 'DARTSSelector', 'FixedSelector',
    'GDASSelector', 'GateDiagnostics', 'GatedSelector', 'GreedySelector',
    'GroupSelector', 'ManualDeepSelector', 'ManualShallowSelector', 'NoneSelector',
    'PolicySelector', 'RandomSelector', 'SearchDiagnostics', 'Selector',
    'SubsetSearch', 'UniformSelector'
]
