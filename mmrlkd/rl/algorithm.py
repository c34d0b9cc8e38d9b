"""The interface of algorithms: what to minimise, given episodes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from mmengine import dist
from tensordict import TensorClass
from torch import Tensor

from .policy import Policy
from .rollout import Rollout


class Batch(TensorClass):
    """Episodes prepared for a loss; none of it has a graph.

    Its batch size is (T, B): ``batch[:, episodes]`` takes whole episodes.

    Attributes:
        observation: what the policy saw.
        action: what it did.
        log_prob: (T, B), under the policy that acted.
        advantage: (T, B), what the action is worth beyond what was expected.
        weight: (T, B), 1, or 0 for a step to leave out.
        share: (T, B), what a step counts in a mean over all steps of weight
            1 of all ranks, once gradients have been averaged over the ranks.
        target: (T, B), the return that the advantage was taken of.
        acting: logits of the policy that acted, if the loss compares with it.
    """
    observation: Any
    action: Any
    log_prob: Tensor
    advantage: Tensor
    weight: Tensor
    share: Tensor
    target: Tensor
    acting: Any = None


@dataclass(frozen=True)
class Diagnostics:
    """What an update reports; every field a 0-dim tensor on the device, equal
    on all ranks."""


class Algorithm(ABC):
    """A loss as a pure function, and what has to be known for it.

    ``loss(policy, batch)`` depends on nothing but its arguments, changes
    nothing, and is differentiable (twice, too) in the policy's weights. For
    episodes at hand::

        batch, _ = algorithm.minibatch(
            algorithm.prepare(policy, *set_aside_broken(rollout)))
        loss, stats = algorithm.loss(policy, batch)
    """

    #: Episodes of one sample, side by side, that stay together.
    group_size: int = 1
    #: Holds the stats of :meth:`loss`, those of :meth:`summary`, and the
    #: trainer's ``dropped_episodes`` and ``skipped_steps``.
    diagnostics: ClassVar[type[Diagnostics]]

    @abstractmethod
    def prepare(self, policy: Policy, rollout: Rollout,
                weight: Tensor) -> Batch:
        """What is computed once for an update, by the policy as it acted.

        Args:
            policy: played the rollout.
            rollout: (T, B); finite.
            weight: (B,), 1, or 0 for an episode to leave out.
        """

    def minibatch(self, batch: Batch) -> tuple[Batch, Tensor]:
        """What depends on the other episodes of a minibatch, on all ranks.

        Returns:
            The episodes with their :attr:`Batch.share`, and the 0-dim number
            of steps that count, on all ranks.
        """
        count = batch.weight[0].sum() * len(batch)
        dist.all_reduce(count)
        return batch.replace(share=equal_shares(batch.weight, count)), count

    @abstractmethod
    def loss(self, policy: Policy,
             batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The 0-dim loss with its graph, and 0-dim stats without one."""

    def summary(self, rollout: Rollout, batch: Batch) -> dict[str, Tensor]:
        """0-dim numbers about a rollout and what :meth:`prepare` made of it."""
        return {}


def equal_shares(weight: Tensor, count: Tensor) -> Tensor:
    """See :attr:`Batch.share`; ``count`` steps of all ranks count."""
    return weight * dist.get_world_size() / count.clamp(1)


def divergence(log_ratio: Tensor) -> Tensor:
    """k3 of Schulman 2020, http://joschu.net/blog/kl-approx.html: an unbiased
    estimate of KL(old ‖ new) in nats without negative values."""
    return log_ratio.expm1() - log_ratio
