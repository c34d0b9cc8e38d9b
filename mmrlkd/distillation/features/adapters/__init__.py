"""What differs between the task libraries, in one file for each."""

from .base import TaskAdapter, adapt, share_probe
from .mmdet import DetectorAdapter
from .mmpretrain import ClassifierAdapter
from .mmseg import SegmentorAdapter

__all__ = [
    'ClassifierAdapter', 'DetectorAdapter', 'SegmentorAdapter', 'TaskAdapter',
    'adapt', 'share_probe'
]
