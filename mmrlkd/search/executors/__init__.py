"""Executors: where candidates are evaluated."""

from .base import Evaluate, Executor, attempt
from .in_process import InProcessExecutor
from .ray import RayExecutor

__all__ = [
    'Evaluate', 'Executor', 'InProcessExecutor', 'RayExecutor', 'attempt'
]
