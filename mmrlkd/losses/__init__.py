"""How far a student's level is from the teacher's, per sample."""

from .base import LevelLoss
from .cwd import CWDLoss
from .mse import MSELoss

__all__ = ['CWDLoss', 'LevelLoss', 'MSELoss']
