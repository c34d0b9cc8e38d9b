"""Gains of all outcomes of past samples, stored for replay."""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorClass
from torch import Tensor

from .environment import Observation
from .rollout import plain, set_aside_broken


class Gains(TensorClass):
    """Samples with the gain of every outcome of an episode ("full information" in
    the literature on bandits). Its batch size is (B,).

    Attributes:
        known: input of :meth:`.tree.DecisionTree.nodes`.
        gain: (B, S), of the tree's outcomes, before the cost is subtracted.
        weight: (B,), 1, or 0 for a sample that is left out.
    """
    known: Any
    gain: Tensor
    weight: Tensor


class GainsStorage:
    """Stores the gains of the last batches, detached.

    Args:
        batches: number of batches kept; None for all.
    """

    def __init__(self, batches: int | None = None) -> None:
        self._batches: deque[Gains] = deque(maxlen=batches)

    def __len__(self) -> int:
        """Number of batches stored."""
        return len(self._batches)

    @property
    def samples(self) -> int:
        """Number of samples stored."""
        return sum(len(batch) for batch in self._batches)

    def add(self, gains: Gains) -> None:
        """Store a batch, in place of the oldest one where there is no room."""
        self._batches.append(gains.detach())

    def gather(self, device: torch.device) -> Gains:
        """All samples, on ``device``."""
        # Batches from a checkpoint may be on the CPU.
        return torch.cat([  # type: ignore[return-value]
            batch if batch.weight.device == device else batch.to(device)
            for batch in self._batches])

    def clear(self) -> None:
        """Remove all batches."""
        self._batches.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """The batches as nested dicts of tensors, on the CPU."""
        return [plain(batch.cpu()) for batch in self._batches]

    def load_state_dict(self, state: list[dict[str, Any]],
                        observation: Callable[[dict], Observation]) -> None:
        """Replace the batches by those of a :meth:`state_dict`.

        Args:
            state: the state dict.
            observation: makes an observation from its plain dict.
        """
        self._batches.clear()
        for each in state:
            self.add(Gains(**{**each, 'known': observation(each['known'])},
                           batch_size=each['weight'].shape))


def without_broken(gains: Gains) -> Gains:
    """The samples, in which those with a non-finite number have weight 0 and
    zeros for all numbers; see :func:`.set_aside_broken`."""
    blank, kept = set_aside_broken(gains[None])
    return blank[0].replace(weight=gains.weight * kept)
