"""Algorithms that improve a policy from the episodes it played."""

from .base import Diagnostics, Learner
from .descent import Descent
from .gae import generalized_advantages
from .gradient import GradientLearner
from .group import group_advantages
from .grpo import GRPO, GRPODiagnostics
from .ppo import PPO, PPODiagnostics
from .reinforce import REINFORCE, REINFORCEDiagnostics
from .rollout import RolloutStorage, merge, set_aside_broken, take

__all__ = [
    'GRPO', 'PPO', 'REINFORCE', 'Descent', 'Diagnostics', 'GRPODiagnostics',
    'GradientLearner', 'Learner', 'PPODiagnostics', 'REINFORCEDiagnostics',
    'RolloutStorage', 'generalized_advantages', 'group_advantages', 'merge',
    'set_aside_broken', 'take'
]
