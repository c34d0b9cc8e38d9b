"""What differs between the task libraries, one small file each."""

from .base import TaskAdapter, adapt
from .mmdet import DetectorAdapter

__all__ = ['DetectorAdapter', 'TaskAdapter', 'adapt']
