"""What every outcome is worth to a sample, kept to learn from again."""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorClass
from torch import Tensor

from .environment import Observation
from .rollout import plain, set_aside_broken


class Gains(TensorClass):
    """Samples of which it is known what every outcome of an episode gains
    (full information, in the words of bandits). Its batch size is (B,).

    Attributes:
        known: what the nodes of a :class:`.tree.DecisionTree` follow from.
        gain: (B, S), of the tree's outcomes, before their cost is charged.
        weight: (B,), 1, or 0 for a sample to leave out.
    """
    known: Any
    gain: Tensor
    weight: Tensor


class GainsStorage:
    """The gains of the last batches, without the graphs that led to them.

    Args:
        batches: how many are kept; None for all.
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
        # Those of a resumed run lie on the CPU.
        return torch.cat([  # type: ignore[return-value]
            batch if batch.weight.device == device else batch.to(device)
            for batch in self._batches])

    def clear(self) -> None:
        """Forget everything."""
        self._batches.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """The batches as nested dicts of tensors, on the CPU."""
        return [plain(batch.cpu()) for batch in self._batches]

    def load_state_dict(self, state: list[dict[str, Any]],
                        observation: Callable[[dict], Observation]) -> None:
        """Replace what is stored by :meth:`state_dict` of another storage.

        Args:
            state: of the other storage.
            observation: makes an observation of its plain dict.
        """
        self._batches.clear()
        for each in state:
            self.add(Gains(**{**each, 'known': observation(each['known'])},
                           batch_size=each['weight'].shape))


def without_broken(gains: Gains) -> Gains:
    """Weight 0, and zeros for all numbers, where a sample has a non-finite
    one."""
    blank, kept = set_aside_broken(gains[None])
    return blank[0].replace(weight=gains.weight * kept)
