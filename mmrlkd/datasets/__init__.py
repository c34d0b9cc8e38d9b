"""Scenes of real objects with known difficulty, and how they are read."""

from .coco_scenes import ScenesDataset

__all__ = ['ScenesDataset']
