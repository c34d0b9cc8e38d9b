"""Everything that chooses levels."""

from .base import Selector
from .constant import ConstantSelector
from .fixed import FixedSelector
from .manual_deep import ManualDeepSelector
from .manual_shallow import ManualShallowSelector
from .none import NoneSelector
from .policy import EpisodeSummary, PolicySelector
from .random import RandomSelector
from .uniform import UniformSelector

__all__ = [
    'ConstantSelector', 'EpisodeSummary', 'FixedSelector',
    'ManualDeepSelector', 'ManualShallowSelector', 'NoneSelector',
    'PolicySelector', 'RandomSelector', 'Selector', 'UniformSelector'
]
