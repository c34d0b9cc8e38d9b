"""Strategies: which candidates to try next."""

from .base import Strategy
from .controller import ControllerSearch
from .controller_network import ControllerNetwork
from .evolution import EvolutionSearch
from .exhaustive import ExhaustiveSearch
from .random_search import RandomSearch
from .subsets import SubsetStrategy

__all__ = [
    'ControllerNetwork', 'ControllerSearch', 'EvolutionSearch',
    'ExhaustiveSearch', 'RandomSearch', 'Strategy', 'SubsetStrategy'
]
