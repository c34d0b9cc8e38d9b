"""What differs between the task libraries, in one file for each."""

import sys

from torch import nn

from .base import Area, Library


def find_library(model: nn.Module) -> Library:
    """How a model is run and what its samples hold.

    Raises:
        ValueError: the model is of no library that is known here.
    """
    # A model of a library that was not imported cannot exist.
    if 'mmdet' in sys.modules:
        from .mmdet import Detection
        if Detection.handles(model):
            return Detection(model)
    if 'mmseg' in sys.modules:
        from .mmseg import Segmentation
        if Segmentation.handles(model):
            return Segmentation(model)
    if 'mmpretrain' in sys.modules:
        from .mmpretrain import Classification
        if Classification.handles(model):
            return Classification(model)
    raise ValueError(
        f'The model is a {type(model).__name__}, whose predictions are not known '
        'here; accepted: detectors of mmdet, encoder-decoders of mmseg and '
        'image classifiers of mmpretrain.')


__all__ = ['Area', 'Library', 'find_library']
