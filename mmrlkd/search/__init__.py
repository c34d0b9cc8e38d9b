"""Searching for one way to distil that suits all images."""

from .history import History, Trial
from .recipe import LevelRecipe, Outcome, Recipe, Vocabulary
from .search import Progress, run_search

__all__ = [
    'History', 'LevelRecipe', 'Outcome', 'Progress', 'Recipe', 'Trial',
    'Vocabulary', 'run_search'
]
