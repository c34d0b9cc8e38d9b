"""Dividing data sets, and repeating their augmentations."""

from .fixed_augmentations import FixedAugmentations

__all__ = ['FixedAugmentations']
