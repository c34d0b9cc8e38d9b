"""Distilling the pyramid of a teacher into a student."""

from mmrlkd import compat

from .distiller import PyramidDistiller

compat.checkpoint_without_reentry()

__all__ = ['PyramidDistiller']
