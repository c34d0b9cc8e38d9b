"""Algorithms that improve a policy from the episodes it played."""

from .base import Diagnostics, Learner
from .gae import generalized_advantages
from .ppo import PPO, PPODiagnostics
from .rollout import RolloutStorage, merge, set_aside_broken, take

__all__ = [
    'PPO', 'Diagnostics', 'Learner', 'PPODiagnostics', 'RolloutStorage',
    'generalized_advantages', 'merge', 'set_aside_broken', 'take'
]
