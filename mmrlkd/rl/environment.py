"""The interface of environments: episodes of a whole batch, step by step."""

from typing import Any, NamedTuple, Protocol

import torch
from tensordict import TensorClass, TensorDictBase
from torch import Tensor

#: What a policy sees of a batch of episodes: a tensor tree of batch size (B,)
#: or, over whole episodes, (T, B). The entry ``action_mask`` says which
#: actions are allowed, in the form that the policy's distribution takes.
Observation = TensorDictBase | TensorClass


class Outcome(NamedTuple):
    """What a step leads to.

    Attributes:
        observation: of the next step.
        reward: (B,); None where it is only known after the episode, as when
            it is computed from what the batch brought about. Whoever played
            the episode then adds it: see
            :meth:`~mmrlkd.rl.rollout.Rollout.rewarded`.
    """
    observation: Observation
    reward: Tensor | None


class Environment(Protocol):
    """``batch_size`` episodes side by side, all of ``horizon`` steps.

    Episodes *end* after the last step, which the observation must let the
    policy see coming; none is cut short. One step is a handful of tensor
    operations for the whole batch.

    Attributes:
        batch_size: number of episodes B.
        horizon: number of steps T ≥ 1.
        device: of the observations.
    """
    batch_size: int
    horizon: int
    device: torch.device

    def reset(self) -> Observation:
        """Begin the episodes; what is seen before the first step."""
        ...

    def step(self, action: Any) -> Outcome:
        """Do ``action``, of batch size (B,), which the mask must allow."""
        ...
