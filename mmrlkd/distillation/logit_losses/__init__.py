"""Losses between a student's and a teacher's class logits."""

from .base import LogitLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .kl import KLLoss

__all__ = ['DISTLoss', 'DKDLoss', 'KLLoss', 'LogitLoss']
