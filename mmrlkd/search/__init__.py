"""Searching for one way to distil that suits all images."""

from .recipe import LevelRecipe, Outcome, Recipe

__all__ = ['LevelRecipe', 'Outcome', 'Recipe']
