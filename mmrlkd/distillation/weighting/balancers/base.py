"""The interface of balancers: rows of gradients in, weights out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

#: A norm below this share of the largest counts as that: a level that has
#: next to nothing left to teach must not take all the weight.
SMALLEST_SHARE = 1e-4


class Balancer(nn.Module, ABC):
    """Weighs n losses: those of the levels and, if asked for, the task's.

    All it keeps are buffers, so that it moves with the model, can be saved,
    and can be made equal on all ranks. Nothing here waits for the device.

    Attributes:
        weights: (n,) the newest weight of each loss; starts at 1.
        skipped: 0-dim int64, how many batches had a row or a loss that was
            not finite or too large to be squared, and changed nothing.
    """

    #: Whether the weights depend on the gradients at all.
    needs_gradients: ClassVar[bool] = True
    #: Whether the weights go on from batch to batch, and sum to n over all
    #: losses, active or not: a balancer that does not remember begins each
    #: batch anew, and says itself what its weights sum to.
    stateful: ClassVar[bool] = True
    #: Whether the rows are over all parameters that the levels depend on,
    #: instead of one shared layer.
    everywhere: bool = False

    weights: Tensor
    skipped: Tensor

    def bind(self, names: Sequence[str]) -> None:
        """Get to know the losses; raise a ValueError where they don't fit."""
        self.names = tuple(names)
        self.register_buffer('weights', torch.ones(len(names)))
        self.register_buffer('skipped', torch.zeros((), dtype=torch.int64))

    def fallback(self) -> Tensor:
        """(n,) the weights of a batch whose gradients are not looked at."""
        return (self.weights.clone() if self.stateful else
                torch.ones_like(self.weights))

    @torch.no_grad()
    def weigh(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        """Look at a batch.

        A batch with a row or loss that is not finite, or larger than the
        fourth root of the largest number (4e9 in float32), changes nothing but
        :attr:`skipped`, and gets the weights of :meth:`fallback`.

        Args:
            rows: (n, D), gradient of each unweighted loss by D shared
                parameters.
            losses: (n,), their values, >= 0.
            active: (n,) bool, which take part in this batch. What the others
                have in ``rows`` and ``losses`` is not read.

        Returns:
            (n,) > 0. An inactive loss keeps its weight. In a balancer that
            :attr:`stateful`, the active ones sum to what the same ones
            summed to before; so all n sum to n after every batch.
        """
        rows = rows.where(active[:, None], 0)
        losses = losses.where(active, 0)
        # A norm above this, squared and summed, overflows in what is made of
        # it; such a row tells of a diverged batch as one that is not finite.
        limit = torch.finfo(rows.dtype).max ** 0.25
        sound = ((rows.abs() <= limit).all()
                 & (losses.abs() <= limit).all())
        taking = active & sound
        found = self._update(
            rows.where(sound, 0), losses.where(sound, 0), taking)
        self.weights.copy_(torch.where(taking, found, self.weights))
        self.skipped += ~sound
        return torch.where(sound, self.weights, self.fallback())

    @abstractmethod
    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        """(n,) the new weights of the active ones; those of others are not
        read. Rows and losses are finite, and 0 where not active; what is kept
        of losses that are not active must not change."""

    def _redistribute(self, shares: Tensor, active: Tensor) -> Tensor:
        """(n,) weights as ``shares`` (n,) > 0 are to one another, which sum,
        over the active ones, to what these sum to now."""
        held = self.weights.where(active, 0).sum()
        shares = shares.where(active, 0)
        return shares * held / shares.sum().clamp_min(_tiny(shares))


def floored_norms(rows: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Norms (n,) > 0 of rows (n, D), and which of the active ones are not 0:
    a loss without gradient has nothing to be balanced by."""
    norms = rows.norm(dim=1)
    floor = (SMALLEST_SHARE * norms.max()).clamp_min(_tiny(norms))
    return norms.clamp_min(floor), active & (norms > 0)


def mean_of(values: Tensor, active: Tensor) -> Tensor:
    """0-dim mean of the active values, > 0 also where there are none."""
    total = values.where(active, 0).sum()
    return (total / active.sum().clamp_min(1)).clamp_min(_tiny(values))


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny
