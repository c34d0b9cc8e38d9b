"""How far a student's class logits are from the teacher's."""

from .base import LogitLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .kl import KLLoss

__all__ = ['DISTLoss', 'DKDLoss', 'KLLoss', 'LogitLoss']
