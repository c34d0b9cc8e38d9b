"""The interface of algorithms: the loss of a policy on episodes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from mmengine import dist
from tensordict import TensorClass
from torch import Tensor

from .policy import Policy
from .rollout import Rollout


class Batch(TensorClass):
    """Episodes prepared for a loss; no tensor has a graph.

    Its batch size is (T, B): ``batch[:, episodes]`` selects whole episodes.

    Attributes:
        observation: observations of the policy.
        action: its actions.
        log_prob: (T, B), under the policy that acted.
        advantage: (T, B), return of the action minus the expected return.
        weight: (T, B), 1, or 0 for a step that is left out.
        share: (T, B), weight of a step in the loss, such that the average of the
            ranks' gradients is the gradient of the mean over all steps of
            weight 1 on all ranks.
        target: (T, B), the return from which the advantage was computed.
        acting: logits of the policy that acted, if the loss needs them.
        noise: (T, B), by how much rounding errors can make advantages differ; if
            they are normalised.
    """
    observation: Any
    action: Any
    log_prob: Tensor
    advantage: Tensor
    weight: Tensor
    share: Tensor
    target: Tensor
    acting: Any = None
    noise: Tensor | None = None


@dataclass(frozen=True)
class Diagnostics:
    """Numbers about an update: 0-dim tensors on the device, equal on all
    ranks."""


class Algorithm(ABC):
    """A loss as a pure function, and the preparation of its batches.

    ``loss(policy, batch)`` depends on its arguments only, changes nothing, and is
    twice differentiable in the policy's weights. For given episodes::

        batch, _ = algorithm.minibatch(
            algorithm.prepare(policy, *set_aside_broken(rollout)))
        loss, stats = algorithm.loss(policy, batch)
    """

    #: Episodes of one sample, next to each other along B, that are compared
    #: with one another and stay in one minibatch.
    group_size: int = 1
    #: Its fields are the stats of :meth:`loss` and :meth:`summary`, and the
    #: trainer's ``dropped_episodes`` and ``skipped_steps``.
    diagnostics: ClassVar[Callable[..., Diagnostics]]

    @abstractmethod
    def prepare(self, policy: Policy, rollout: Rollout,
                weight: Tensor) -> Batch:
        """Everything that is computed once per update, with the policy that acted.

        Args:
            policy: the policy that played the rollout.
            rollout: (T, B); finite.
            weight: (B,), 1, or 0 for an episode that is left out.
        """

    def minibatch(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Everything that depends on all episodes of a minibatch, on all ranks.

        Returns:
            The episodes with their :attr:`Batch.share`, and the 0-dim number of
            steps of weight 1 on all ranks.
        """
        count = batch.weight[0].sum() * len(batch)
        dist.all_reduce(count)
        return batch.replace(share=equal_shares(batch.weight, count)), count

    @abstractmethod
    def loss(self, policy: Policy,
             batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The 0-dim loss with its graph, and 0-dim stats without graph."""

    def summary(self, rollout: Rollout, batch: Batch) -> dict[str, Tensor]:
        """0-dim stats of a rollout and its prepared batch."""
        return {}


def equal_shares(weight: Tensor, count: Tensor) -> Tensor:
    """:attr:`Batch.share` of equally weighted steps; ``count`` on all ranks."""
    return weight * dist.get_world_size() / count.clamp(1)


def divergence(log_ratio: Tensor) -> Tensor:
    """k3 of Schulman 2020, http://joschu.net/blog/kl-approx.html: an unbiased
    estimate of KL(old ‖ new) in nats without negative values."""
    return log_ratio.expm1() - log_ratio
