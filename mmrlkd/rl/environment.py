"""The interface of environments: episodes of a whole batch, step by step."""

from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

#: The input of a policy for a batch of episodes: any tensor tree (a TensorDict
#: or a TensorClass) of batch size (B,) or, over whole episodes, (T, B). Its entry
#: ``action_mask`` has the allowed actions, in the form that the policy's
#: distribution needs.
Observation: TypeAlias = Any


class Outcome(NamedTuple):
    """The result of a step.

    Attributes:
        observation: of the next step.
        reward: (B,); None if it is known only after the episode. The caller of
            :func:`~mmrlkd.rl.rollout.play` then adds it by
            :meth:`~mmrlkd.rl.rollout.Rollout.rewarded`.
    """
    observation: Observation
    reward: Tensor | None


class Environment(Protocol):
    """``batch_size`` parallel episodes, all of ``horizon`` steps.

    Episodes *terminate* after the last step and are not truncated, so no value
    is bootstrapped there; the observation must contain the number of the step or
    the steps left. One step is a few tensor operations for the whole batch.

    Attributes:
        batch_size: number of episodes B.
        horizon: number of steps T ≥ 1.
        device: of the observations.
    """
    batch_size: int
    horizon: int
    device: torch.device

    def reset(self) -> Observation:
        """Begin the episodes; the observation of the first step."""
        ...

    def step(self, action: Any) -> Outcome:
        """Take ``action``, of batch size (B,), which the mask must allow."""
        ...
