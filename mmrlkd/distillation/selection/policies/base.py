"""The base class of policies over levels."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from mmrlkd.rl.distributions import SubsetDistribution
from mmrlkd.rl.policy import Memory, PolicyModule
from mmrlkd.structures import LevelSpace, State


class LevelPolicy(PolicyModule):
    """Computes logits of the levels and the value of the state.

    Policies must not use dropout: PPO's ratio is 1 before the first update only
    if an action has the same probability when acting and when learning.
    """

    def bind(self, space: LevelSpace, horizon: int) -> None:
        """Build the network for these levels and this number of steps.

        Raises:
            ValueError: the policy cannot work with these levels.
        """
        self.space, self.horizon = space, horizon

    def fitted(self, environment: Any) -> PolicyModule:
        """See :meth:`~mmrlkd.rl.policy.PolicyModule.fitted`.

        Args:
            environment: a :class:`..environment.DecisionProcess` or a
                :class:`..recorded.RecordedEnvironment`.
        """
        own, other = (
            (each.level_channels, each.global_channels, each.context)
            for each in (self.space, environment.space))
        if own != other:
            raise ValueError(
                f'{type(self).__name__} is for levels, a deepest map and a '
                f'context of the widths {own}, the task has {other}; accepted: '
                'tasks of the same widths, or a TokenPolicy.')
        return self

    @abstractmethod
    def score(self, state: State,
              memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """(B, L) logits of the levels, (B,) value and the new memory."""

    def forward(self, observation: State, memory: Memory
                ) -> tuple[SubsetDistribution, Tensor, Memory]:
        """The distribution over the subsets, the value (B,) and the memory."""
        # The policy acts inside the student's autocast and learns outside. In
        # half precision its probabilities would differ before any update.
        with torch.autocast(observation.step.device.type, enabled=False):
            logits, value, memory = self.score(observation, memory)
        return (SubsetDistribution(logits, observation.action_mask), value,
                memory)
