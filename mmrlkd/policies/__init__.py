"""Networks that look at a state and score the levels."""

from .base import Memory, Policy
from .encoder import StateEncoder
from .heads import ActorCriticHeads
from .lstm import LSTMPolicy
from .mlp import MLPPolicy

__all__ = [
    'ActorCriticHeads', 'LSTMPolicy', 'MLPPolicy', 'Memory', 'Policy',
    'StateEncoder'
]
