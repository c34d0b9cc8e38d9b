"""Losses between a student's and a teacher's map, one number per sample."""

from .at import ATLoss
from .base import LevelLoss
from .cwd import CWDLoss
from .fgd import FGDLoss
from .mgd import MGDLoss
from .mse import MSELoss
from .pkd import PKDLoss

__all__ = ['ATLoss', 'CWDLoss', 'FGDLoss', 'LevelLoss', 'MGDLoss', 'MSELoss',
           'PKDLoss']
