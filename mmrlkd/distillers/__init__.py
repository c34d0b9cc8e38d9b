"""Models that hold a student and look at a teacher."""

from mmrlkd import compat

from .pyramid_distiller import PyramidDistiller

compat.checkpoint_without_reentry()

__all__ = ['PyramidDistiller']
