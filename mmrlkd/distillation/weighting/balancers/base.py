"""The interface of balancers: gradients in, weights out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

#: Smaller norms count as this share of the largest norm: otherwise a level
#: whose gradient vanishes would get all the weight.
SMALLEST_SHARE = 1e-4


class Balancer(nn.Module, ABC):
    """Weighs n losses: those of the levels and, with ``include_task``, the task's.

    All state is in buffers, so that it moves with the model, is saved, and can
    be made equal on all ranks. Nothing here waits for the device.

    Attributes:
        weights: (n,) the latest weight of each loss; 1 at the start.
        skipped: 0-dim int64, number of batches that changed nothing because a
            gradient or a loss was not finite or too large.
    """

    #: Whether the weights depend on gradients.
    needs_gradients: ClassVar[bool] = True
    #: Whether weights are updated from batch to batch, and sum to n over all
    #: losses, active or not. A stateless balancer computes the weights of each
    #: batch anew, and they may have any sum.
    stateful: ClassVar[bool] = True
    #: Whether gradients are taken by all parameters that the levels depend on,
    #: instead of one shared layer.
    everywhere: bool = False

    weights: Tensor
    skipped: Tensor

    def bind(self, names: Sequence[str]) -> None:
        """Set the names of the losses.

        Raises:
            ValueError: the balancer's arguments do not fit them.
        """
        self.names = tuple(names)
        self.register_buffer('weights', torch.ones(len(names)))
        self.register_buffer('skipped', torch.zeros((), dtype=torch.int64))

    def fallback(self) -> Tensor:
        """(n,) the weights of a batch whose gradients are not used."""
        return (self.weights.clone() if self.stateful else
                torch.ones_like(self.weights))

    @torch.no_grad()
    def weigh(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        """The weights for a batch.

        If a gradient or loss is not finite, or larger than the fourth root of
        the largest number (4e9 in float32), the batch changes nothing but
        :attr:`skipped`, and gets the weights of :meth:`fallback`.

        Args:
            rows: (n, D), gradient of each unweighted loss by D shared
                parameters.
            losses: (n,), their values, >= 0.
            active: (n,) bool, the losses that some image of the batch has. The
                others' entries in ``rows`` and ``losses`` are not used.

        Returns:
            (n,) > 0. An inactive loss keeps its weight. In a
            :attr:`stateful` balancer the sum over the active ones does not
            change; so all n sum to n after every batch.
        """
        rows = rows.where(active[:, None], 0)
        losses = losses.where(active, 0)
        # Balancers square norms and sum the squares, which overflows above
        # this; so large a gradient means that the batch has diverged anyway.
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
        """(n,) the new weights; those of inactive losses are not used.

        Rows and losses are finite, and 0 where not active. State that belongs
        to inactive losses must not change.
        """

    def _redistribute(self, shares: Tensor, active: Tensor) -> Tensor:
        """(n,) weights in proportion to ``shares`` (n,) > 0, scaled so that the
        sum over the active ones stays as it is."""
        held = self.weights.where(active, 0).sum()
        shares = shares.where(active, 0)
        return shares * held / shares.sum().clamp_min(_tiny(shares))


def floored_norms(rows: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Norms (n,) > 0 of rows (n, D), and which of the active ones are not 0: a
    loss without gradient cannot be balanced."""
    norms = rows.norm(dim=1)
    floor = (SMALLEST_SHARE * norms.max()).clamp_min(_tiny(norms))
    return norms.clamp_min(floor), active & (norms > 0)


def mean_of(values: Tensor, active: Tensor) -> Tensor:
    """0-dim mean of the active values; > 0 also if there are none."""
    total = values.where(active, 0).sum()
    return (total / active.sum().clamp_min(1)).clamp_min(_tiny(values))


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny
