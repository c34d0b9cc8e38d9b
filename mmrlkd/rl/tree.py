"""Every course that episodes can take, where it is known what each one shows."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from tensordict import TensorDictBase
from torch import Tensor

from .distributions import MaskedCategorical
from .environment import Observation
from .policy import Memory, Policy


class Nodes(NamedTuple):
    """The nodes of one step, and how the next step's follow from them.

    Attributes:
        observation: (B, N), what is seen at each node of each sample.
        parent: (N',) int64 in [0, N), the node from which each of the next
            step's nodes (after the last step, each outcome) follows.
        action: (N',) int64, by which action.
    """
    observation: Observation
    parent: Tensor
    action: Tensor


class DecisionTree(Protocol):
    """All courses of the episodes of an environment whose steps hold no
    chance. The first step has one node; the last leads to S outcomes, along
    one path each."""

    def nodes(self, known: Observation) -> list[Nodes]:
        """The nodes of each of the T steps.

        Args:
            known: (B,), what they are computed from.
        """
        ...


def outcome_probabilities(policy: Policy, nodes: Sequence[Nodes]
                          ) -> tuple[Tensor, Tensor]:
    """What a policy makes of a tree.

    Returns:
        (B, S), the probability of each outcome, and (T, B), the expected
        entropy of each step's decision in nats. By the chain rule, its sum
        over the steps is the entropy of the course.
    """
    batch = len(nodes[0].observation)
    device = nodes[0].action.device
    memory = policy.initial(batch, device)
    probability = torch.ones(batch, 1, device=device)
    entropy = []
    for observation, parent, action in nodes:
        choice, _, memory = policy(observation.flatten(0, 1), memory)
        assert isinstance(choice, MaskedCategorical), 'one choice a step'
        entropy.append(
            (probability * choice.entropy().view_as(probability)).sum(-1))
        conditional = choice.probs.unflatten(0, probability.shape)
        probability = probability[:, parent] * conditional[:, parent, action]
        memory = _follow(memory, parent, batch)
    return probability, torch.stack(entropy)


def _follow(memory: Memory, parent: Tensor, batch: int) -> Memory:
    """The memory (B·N, …) of each node's parent, for the next (B·N', …)."""
    def follow(tree: Any) -> Any:
        if isinstance(tree, Tensor | TensorDictBase):
            return tree.unflatten(0, (batch, -1))[:, parent].flatten(0, 1)
        return tuple(follow(each) for each in tree)

    return follow(memory)
