"""Networks that score the levels of each image."""

from .base import LevelPolicy
from .encoder import StateEncoder
from .heads import ActorCriticHeads
from .lstm import EpisodeMemory, LSTMPolicy
from .mlp import MLPPolicy

__all__ = [
    'ActorCriticHeads', 'EpisodeMemory', 'LSTMPolicy', 'LevelPolicy',
    'MLPPolicy', 'StateEncoder'
]
