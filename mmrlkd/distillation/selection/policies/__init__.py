"""Networks that score the levels of each image."""

from .adapter import InputAdapter
from .base import LevelPolicy
from .encoder import StateEncoder
from .heads import ActorCriticHeads
from .lstm import EpisodeMemory, LSTMPolicy
from .mlp import MLPPolicy
from .token import TokenNetwork, TokenPolicy

__all__ = [
    'ActorCriticHeads', 'EpisodeMemory', 'InputAdapter', 'LSTMPolicy',
    'LevelPolicy', 'MLPPolicy', 'StateEncoder', 'TokenNetwork', 'TokenPolicy'
]
