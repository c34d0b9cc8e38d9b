"""Metrics that tell easy images from hard ones."""

from .difficulty_metric import DifficultyCocoMetric

__all__ = ['DifficultyCocoMetric']
