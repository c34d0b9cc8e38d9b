"""Models that hold a student and look at a teacher."""

from .pyramid_distiller import PyramidDistiller

__all__ = ['PyramidDistiller']
