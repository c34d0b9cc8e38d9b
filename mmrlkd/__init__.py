"""RL-PyramidKD: distil, for each image, the pyramid levels worth their cost.

Importing the package repairs what the OpenMMLab stack needs repaired
(:mod:`mmrlkd.compat`) and registers nothing else: members of a family are
imported when a config first names one (``type='mmrlkd.…'``).
"""

from . import compat
from .version import __version__

compat.apply()

__all__ = ['__version__']
