"""Models that hold a student and look at a teacher."""

from mmrlkd import compat

from .distiller import PyramidDistiller

compat.checkpoint_without_reentry()

__all__ = ['PyramidDistiller']
