"""Searching for one recipe that is used for all images."""

from .history import History, Trial
from .recipe import LevelRecipe, Outcome, Recipe, Vocabulary
from .search import Progress, run_search

__all__ = [
    'History', 'LevelRecipe', 'Outcome', 'Progress', 'Recipe', 'Trial',
    'Vocabulary', 'run_search'
]
