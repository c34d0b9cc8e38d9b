"""RL-PyramidKD: distil, for each image, the pyramid levels worth their cost.

Importing the package applies the repairs of :mod:`mmrlkd.compat` and registers
nothing: the members of a registry are imported when a config first names one
(``type='mmrlkd.…'``).
"""

from . import compat
from .version import __version__

compat.apply()

__all__ = ['__version__']
