"""Algorithms: losses as pure functions of episodes, and the trainers that
configs name."""

from .advantages import generalized_advantages, group_advantages
from .expected_reward import (
    ExpectedReward,
    ExpectedRewardBatch,
    ExpectedRewardDiagnostics,
    ExpectedRewardLoss,
    Multiplier,
)
from .grpo import GRPO, GRPODiagnostics, GRPOLoss
from .ppo import PPO, PPODiagnostics, PPOLoss
from .reinforce import (
    REINFORCE,
    REINFORCEDiagnostics,
    REINFORCELoss,
    policy_gradient,
)

__all__ = [
    'GRPO', 'PPO', 'REINFORCE', 'ExpectedReward', 'ExpectedRewardBatch',
    'ExpectedRewardDiagnostics', 'ExpectedRewardLoss', 'GRPODiagnostics',
    'GRPOLoss', 'Multiplier', 'PPODiagnostics', 'PPOLoss', 'REINFORCEDiagnostics',
    'REINFORCELoss', 'generalized_advantages', 'group_advantages',
    'policy_gradient'
]
