"""Distributions over masked actions, for every policy and search.

Forbidden actions are removed *before* normalising, so that log-probability,
entropy and divergence are exactly those of the distribution that is sampled. If
forbidden actions were drawn and then replaced, the log-probability and its
gradient would belong to another distribution (Huang & Ontañón 2022,
https://arxiv.org/abs/2006.14171).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Self, TypeAlias

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torch.distributions import Categorical

#: A tensor, or a tree of tensors with one batch shape.
Tree: TypeAlias = Tensor | TensorDictBase


class Distribution(ABC):
    """A distribution over actions, for each element of a batch shape (…).

    Args:
        logits: the parameters: a tensor (…, N), or a tree of such.
        mask: which actions are allowed: bool, of the same structure.
    """

    logits: Any
    mask: Any

    @abstractmethod
    def sample(self) -> Any:
        """An action (…), drawn at random."""

    @abstractmethod
    def mode(self) -> Any:
        """The most probable action (…)."""

    @abstractmethod
    def log_prob(self, action: Any) -> Tensor:
        """(…,), log-probability of an action."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """(…,), in nats, 0·log 0 being 0."""

    @abstractmethod
    def kl(self, other: Self) -> Tensor:
        """(…,), KL(self ‖ other) in nats; infinite if ``other`` forbids an action
        that this distribution allows."""

    @abstractmethod
    def with_logits(self, logits: Any) -> Self:
        """A distribution with the same mask and other logits."""

    @abstractmethod
    def stacked(self, others: Sequence[Self]) -> Self:
        """``others``, which are of this family, along a new first dimension."""


class MaskedCategorical(Distribution):
    """One of N actions.

    Args:
        logits: (…, N). Scores that are not finite count as 0, so that an allowed
            action is drawn even if the network overflowed; the trainer drops
            the episode.
        mask: (…, N) bool, at least one true in every row.
    """

    def __init__(self, logits: Tensor, mask: Tensor) -> None:
        self.logits = logits
        self.mask = mask

    def scores(self) -> Tensor:
        """(…, N), unnormalised log-probabilities before masking."""
        return self.logits

    # Normalised on request: of the distributions of an episode's steps, only
    # the stack is.
    @cached_property
    def _categorical(self) -> Categorical:
        scores = self.scores().nan_to_num(nan=0., posinf=0., neginf=0.)
        return Categorical(
            logits=scores.masked_fill(~self.mask, -torch.inf),
            validate_args=False)

    @property
    def probs(self) -> Tensor:
        """(…, N), exactly 0 where forbidden."""
        return self._categorical.probs

    def sample(self) -> Tensor:
        """(…,) int64."""
        # As torch.multinomial: argmax of p / Exp(1) has distribution p. But
        # multinomial checks the probabilities, for which the host waits.
        probs = self.probs.detach()
        exponential = torch.empty_like(probs).exponential_()
        return (probs / exponential.clamp(
            min=torch.finfo(probs.dtype).tiny)).argmax(-1)

    def mode(self) -> Tensor:
        """(…,) int64."""
        return self._categorical.logits.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """(…,), of the actions (…,) int64."""
        return self._categorical.log_prob(action)

    def entropy(self) -> Tensor:
        return -(self.probs * self._allowed_only(
            self._categorical.logits)).sum(-1)

    def kl(self, other: 'MaskedCategorical') -> Tensor:
        difference = self._categorical.logits - other._categorical.logits
        return (self.probs * self._allowed_only(difference)).sum(-1)

    def with_logits(self, logits: Tensor) -> Self:
        return type(self)(logits, self.mask)

    def stacked(self, others: Sequence[Self]) -> Self:
        return type(self)(torch.stack([each.logits for each in others]),
                          torch.stack([each.mask for each in others]))

    def _allowed_only(self, terms: Tensor) -> Tensor:
        # −inf · 0 is NaN, also in the backward pass, so these terms are replaced
        # and not multiplied by 0.
        return terms.masked_fill(~self.mask, 0.)


class SubsetDistribution(MaskedCategorical):
    """One of the subsets of L things; action ``s`` holds the bits of ``s``.

    Args:
        logits: (…, L), one logit a thing, a subset's score being the sum of
            its members' (independent Bernoullis conditioned on the mask); or
            (…, 2^L), a free score for each subset.
        mask: (…, 2^L) bool, at least one true in every row.
    """

    def scores(self) -> Tensor:
        if self.logits.shape[-1] == self.mask.shape[-1]:
            return self.logits
        table = subset_table(self.logits.shape[-1], self.logits.device)
        # The policy acts under the student's autocast but learns without it, and
        # an action must have the same probability in both.
        with torch.autocast(self.logits.device.type, enabled=False):
            return self.logits @ table.T.to(self.logits.dtype)


class FactoredCategorical(Distribution):
    """Several independent choices at once, one categorical head for each.

    An action is a tree of int64 (…,), by head; its log-probability is the sum
    of the heads', and so are entropy and divergence.

    Args:
        logits: (…, N_h) for each head ``h``; heads may differ in N.
        mask: (…, N_h) bool for each head; None allows everything.
    """

    def __init__(self, logits: Mapping[str, Tensor] | TensorDictBase,
                 mask: Mapping[str, Tensor] | TensorDictBase | None = None
                 ) -> None:
        tensors = dict(logits.items())
        masks = dict(mask.items()) if mask is not None else {
            head: torch.ones_like(each, dtype=torch.bool)
            for head, each in tensors.items()}
        if not tensors or tensors.keys() != masks.keys():
            raise ValueError(
                f'FactoredCategorical: logits of the heads {list(tensors)} and '
                f'a mask of {list(masks)}; accepted: the same heads, one or '
                'more.')
        shape = next(iter(tensors.values())).shape[:-1]
        self.logits = TensorDict(tensors, shape)
        self.mask = TensorDict(masks, shape)
        self.heads = {head: MaskedCategorical(each, masks[head])
                      for head, each in tensors.items()}

    def sample(self) -> TensorDict:
        return self._action(MaskedCategorical.sample)

    def mode(self) -> TensorDict:
        return self._action(MaskedCategorical.mode)

    def log_prob(self, action: Mapping[str, Tensor] | TensorDictBase) -> Tensor:
        return self._total([each.log_prob(action[head])
                            for head, each in self.heads.items()])

    def entropy(self) -> Tensor:
        return self._total([each.entropy() for each in self.heads.values()])

    def kl(self, other: 'FactoredCategorical') -> Tensor:
        return self._total([each.kl(other.heads[head])
                            for head, each in self.heads.items()])

    def with_logits(self, logits: TensorDictBase) -> 'FactoredCategorical':
        return FactoredCategorical(logits, self.mask)

    def stacked(self, others: Sequence['FactoredCategorical']
                ) -> 'FactoredCategorical':
        return FactoredCategorical(
            torch.stack([each.logits for each in others]),
            torch.stack([each.mask for each in others]))

    def _action(self, choose: Any) -> TensorDict:
        return TensorDict({head: choose(each) for head, each in
                           self.heads.items()}, self.logits.batch_size)

    @staticmethod
    def _total(terms: list[Tensor]) -> Tensor:
        return torch.stack(terms).sum(0)


@lru_cache(maxsize=32)
def subset_table(members: int, device: torch.device) -> Tensor:
    """Every subset of ``members`` things.

    Returns:
        (2^L, L) bool; row ``s`` holds the bits of ``s``, member 0 the lowest.
    """
    # Otherwise a table cached in inference mode could not be used with
    # gradients later.
    with torch.inference_mode(False):
        index = torch.arange(2**members, device=device)
        bits = torch.arange(members, device=device)
        return (index[:, None] >> bits & 1).bool()
