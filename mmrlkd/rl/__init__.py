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
    ExpectedReward,
    ExpectedRewardBatch,
    ExpectedRewardDiagnostics,
    ExpectedRewardLoss,
    GRPODiagnostics,
    GRPOLoss,
    Multiplier,
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
from .replay import Gains, GainsStorage, without_broken
from .rollout import Rollout, RolloutStorage, act, play, set_aside_broken
from .trainer import Learner, Trainer
from .tree import DecisionTree, Nodes, outcome_probabilities

__all__ = [
    'GRPO', 'PPO', 'REINFORCE', 'Algorithm', 'Batch', 'DecisionTree',
    'Descent', 'Diagnostics', 'Distribution', 'Environment',
    'ExpectedReward', 'ExpectedRewardBatch', 'ExpectedRewardDiagnostics',
    'ExpectedRewardLoss', 'FactoredCategorical', 'FunctionalPolicy',
    'GRPODiagnostics', 'GRPOLoss', 'Gains', 'GainsStorage', 'Learner',
    'MaskedCategorical', 'Memory', 'Multiplier', 'Nodes', 'Observation',
    'Outcome', 'PPODiagnostics', 'PPOLoss', 'Policy', 'PolicyModule',
    'REINFORCEDiagnostics', 'REINFORCELoss', 'Rollout', 'RolloutStorage',
    'SubsetDistribution', 'Trainer', 'act', 'generalized_advantages',
    'group_advantages', 'outcome_probabilities', 'play', 'policy_gradient',
    'set_aside_broken', 'subset_table', 'without_broken'
]
