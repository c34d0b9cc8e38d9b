"""What all policies over levels share."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from mmrlkd.rl.distributions import SubsetDistribution
from mmrlkd.rl.policy import Memory, PolicyModule
from mmrlkd.structures import LevelSpace, State


class LevelPolicy(PolicyModule):
    """Scores the levels of each image and values the state.

    No dropout: the probability of an action must be the same when acting and
    when learning.
    """

    def bind(self, space: LevelSpace, horizon: int) -> None:
        """Build the network for the levels and number of steps at hand.

        Raises:
            ValueError: it does not fit the levels.
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
        """One step: the distribution over the subsets that may be held."""
        # Selecting happens inside the student's autocast, learning outside:
        # in half precision their probabilities would differ before an update.
        with torch.autocast(observation.step.device.type, enabled=False):
            logits, value, memory = self.score(observation, memory)
        return (SubsetDistribution(logits, observation.action_mask), value,
                memory)
