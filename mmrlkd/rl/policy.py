"""The interface of policies: one step of an episode, or whole episodes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .distributions import Distribution
from .environment import Environment, Observation

#: State of a policy between steps: a tuple (tree) of tensors (B, …), empty for a
#: policy without memory.
Memory = tuple[Any, ...]


class Policy(Protocol):
    """The interface of a policy for algorithms and rollouts.

    Acting and evaluating must give an action the same probability, to the last
    bit: without dropout, and with the same kernels with and without gradients.
    Otherwise PPO's ratio would not be 1 before the first update.
    """

    def initial(self, batch: int, device: torch.device) -> Memory:
        """The memory with which ``batch`` episodes start."""
        ...

    def __call__(self, observation: Observation, memory: Memory
                 ) -> tuple[Distribution, Tensor | None, Memory]:
        """One step: the distribution over the allowed actions, the value (B,)
        or None without a critic, and the new memory."""
        ...

    def evaluate(self, observations: Observation
                 ) -> tuple[Distribution, Tensor | None]:
        """Distributions and values (T, B) of whole episodes (T, B)."""
        ...


class PolicyModule(nn.Module, ABC):
    """A :class:`Policy` with weights."""

    @abstractmethod
    def initial(self, batch: int, device: torch.device) -> Memory:
        """See :meth:`Policy.initial`."""

    @abstractmethod
    def forward(self, observation: Observation, memory: Memory
                ) -> tuple[Distribution, Tensor | None, Memory]:
        """See :meth:`Policy.__call__`."""

    def fitted(self, environment: Environment) -> 'PolicyModule':
        """This policy for the episodes of an environment: the same weights
        under the same names, and what depends on the environment alone.

        Args:
            environment: its episodes begin anew.

        Raises:
            ValueError: its observations do not fit.
        """
        return self

    def evaluate(self, observations: Observation
                 ) -> tuple[Distribution, Tensor | None]:
        """See :meth:`Policy.evaluate`; runs the same steps as acting."""
        return _evaluate(self, observations)


class FunctionalPolicy:
    """A policy with other weights than its own, for gradients through updates.

    ``adapted = FunctionalPolicy(policy, {name: weight − lr · gradient, …})`` acts
    and is evaluated like ``policy``, and gradients of its loss reach the given
    tensors. ``policy`` does not change.

    Args:
        policy: the computation.
        parameters: tensors by the names of ``policy.named_parameters()``; the
            policy's own for names that are missing.
    """

    def __init__(self, policy: PolicyModule,
                 parameters: Mapping[str, Tensor]) -> None:
        self._policy = policy
        self.parameters = dict(parameters)

    def initial(self, batch: int, device: torch.device) -> Memory:
        """See :meth:`Policy.initial`."""
        return self._policy.initial(batch, device)

    def __call__(self, observation: Observation, memory: Memory
                 ) -> tuple[Distribution, Tensor | None, Memory]:
        return functional_call(
            self._policy, self.parameters, (observation, memory))

    def evaluate(self, observations: Observation
                 ) -> tuple[Distribution, Tensor | None]:
        """See :meth:`Policy.evaluate`."""
        return _evaluate(self, observations)


def _evaluate(policy: Policy, observations: Observation
              ) -> tuple[Distribution, Tensor | None]:
    steps, batch = observations.shape
    memory = policy.initial(batch, _device(observations))
    distributions: list[Distribution] = []
    values: list[Tensor] = []
    # Step by step, as when acting: a fused kernel over time would give other
    # last bits.
    for t in range(steps):
        distribution, value, memory = policy(observations[t], memory)
        distributions.append(distribution)
        if value is not None:
            values.append(value)
    return distributions[0].stacked(distributions), (
        torch.stack(values) if values else None)


def _device(observations: Observation) -> torch.device:
    return next(iter(observations.values(
        include_nested=True, leaves_only=True))).device
