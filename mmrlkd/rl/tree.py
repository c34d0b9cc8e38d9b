"""All paths of deterministic episodes, whose observations can be computed."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from tensordict import TensorDictBase
from torch import Tensor

from .distributions import MaskedCategorical
from .environment import Observation
from .policy import Memory, Policy


class Nodes(NamedTuple):
    """The N nodes of one step, and their edges to the N' nodes of the next one
    (after the last step, to the outcomes).

    Attributes:
        observation: (B, N), at each node of each sample.
        parent: (N',) int64 in [0, N), the node that each next node follows.
        action: (N',) int64, the action that leads there.
    """
    observation: Observation
    parent: Tensor
    action: Tensor


class DecisionTree(Protocol):
    """All paths of the episodes of a deterministic environment. The first step
    has one node. The last step leads to S outcomes, with one path to each."""

    def nodes(self, known: Observation) -> list[Nodes]:
        """The nodes of each of the T steps.

        Args:
            known: (B,), from which they are computed.
        """
        ...


def outcome_probabilities(policy: Policy, nodes: Sequence[Nodes]
                          ) -> tuple[Tensor, Tensor]:
    """The distribution of a policy over the outcomes of a tree.

    Returns:
        (B, S), the probability of each outcome, and (T, B), the expected
        entropy of each step's action in nats. By the chain rule, its sum over
        the steps is the entropy of the outcome.
    """
    batch = len(nodes[0].observation)
    device = nodes[0].action.device
    memory = policy.initial(batch, device)
    probability = torch.ones(batch, 1, device=device)
    entropy = []
    for observation, parent, action in nodes:
        # The nodes of a step are one batch (B·N,) for the policy.
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
