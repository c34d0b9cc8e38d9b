"""How good a prediction for one image is."""

from .base import Quality, Score
from .classification import Correctness
from .detection import OneMinusLRP
from .segmentation import ImageIoU

__all__ = ['Correctness', 'ImageIoU', 'OneMinusLRP', 'Quality', 'Score']
