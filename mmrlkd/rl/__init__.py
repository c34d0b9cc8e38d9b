"""Reinforcement learning: environments, distributions, policies, algorithms.

Independent of distillation: no levels, no images, no hooks. An environment
returns observations, a policy returns a distribution over actions,
:func:`play` makes a rollout of both, and a trainer improves the policy with an
algorithm's loss.
"""

from .algorithm import Algorithm, Batch, Diagnostics
from .algorithms import (
    GRPO,
    PPO,
    REINFORCE,
    GRPODiagnostics,
    GRPOLoss,
    PPODiagnostics,
    PPOLoss,
    REINFORCEDiagnostics,
    REINFORCELoss,
    generalized_advantages,
    group_advantages,
    policy_gradient,
)
from .descent import Descent
from .distributions import (
    Distribution,
    FactoredCategorical,
    MaskedCategorical,
    SubsetDistribution,
    subset_table,
)
from .environment import Environment, Observation, Outcome
from .policy import FunctionalPolicy, Memory, Policy, PolicyModule
from .rollout import Rollout, RolloutStorage, play, set_aside_broken
from .trainer import Trainer

__all__ = [
    'GRPO', 'PPO', 'REINFORCE', 'Algorithm', 'Batch', 'Descent', 'Diagnostics',
    'Distribution', 'Environment', 'FactoredCategorical', 'FunctionalPolicy',
    'GRPODiagnostics', 'GRPOLoss', 'MaskedCategorical', 'Memory',
    'Observation', 'Outcome', 'PPODiagnostics', 'PPOLoss', 'Policy',
    'PolicyModule', 'REINFORCEDiagnostics', 'REINFORCELoss', 'Rollout',
    'RolloutStorage', 'SubsetDistribution', 'Trainer',
    'generalized_advantages', 'group_advantages', 'play', 'policy_gradient',
    'set_aside_broken', 'subset_table'
]
