"""Everything that chooses levels."""

from .base import Selector
from .constant import ConstantSelector
from .darts import DARTSSelector
from .fixed import FixedSelector
from .gated import GateDiagnostics, GatedSelector
from .gdas import GDASSelector
from .greedy import GreedySelector
from .manual_deep import ManualDeepSelector
from .manual_shallow import ManualShallowSelector
from .none import NoneSelector
from .policy import PolicySelector
from .random import RandomSelector
from .subset_search import SearchDiagnostics, SubsetSearch
from .uniform import UniformSelector

__all__ = [
    'ConstantSelector', 'DARTSSelector', 'FixedSelector',
    'GDASSelector', 'GateDiagnostics', 'GatedSelector', 'GreedySelector',
    'ManualDeepSelector', 'ManualShallowSelector', 'NoneSelector',
    'PolicySelector', 'RandomSelector', 'SearchDiagnostics', 'Selector',
    'SubsetSearch', 'UniformSelector'
]
