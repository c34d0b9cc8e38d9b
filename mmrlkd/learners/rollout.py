"""Keeping episodes until there are enough to learn from."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmrlkd.structures import Rollout, State, map_tensors

Record = TypeVar('Record', State, Rollout)


class RolloutStorage:
    """Collects the rollouts of several batches."""

    def __init__(self) -> None:
        self._rollouts: list[Rollout] = []

    def __len__(self) -> int:
        """Number of batches stored."""
        return len(self._rollouts)

    def add(self, rollout: Rollout) -> None:
        """Store the episodes of one batch, cut from any graph."""
        self._rollouts.append(map_tensors(Tensor.detach, rollout))

    def gather(self, device: torch.device) -> Rollout:
        """All episodes side by side along B, on ``device``."""
        # Rollouts that a checkpoint brought back may lie on the CPU.
        return merge(
            lambda parts: torch.cat([part.to(device) for part in parts], 1),
            self._rollouts)

    def clear(self) -> None:
        """Forget everything: episodes of an older policy teach nothing."""
        self._rollouts.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """The rollouts as nested dicts of tensors, on the CPU: other ranks
        are shown them when a checkpoint is written."""
        return [asdict(map_tensors(Tensor.cpu, rollout))
                for rollout in self._rollouts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Replace what is stored by :meth:`state_dict` of another storage."""
        self._rollouts = []
        for rollout in state:
            states = State(**rollout['states'])
            self.add(Rollout(**{**rollout, 'states': states}))


def merge(function: Callable[[list[Tensor]], Tensor],
          records: Sequence[Record]) -> Record:
    """Apply ``function`` to the list of each field's tensors."""
    merged: dict[str, Any] = {}
    for field in fields(records[0]):
        parts = [getattr(record, field.name) for record in records]
        merged[field.name] = function(parts) if isinstance(
            parts[0], Tensor) else merge(function, parts)
    return type(records[0])(**merged)


def take(rollout: Rollout, episodes: Tensor) -> Rollout:
    """The whole episodes of index ``episodes`` (N,), steps kept together."""
    return map_tensors(lambda tensor: tensor[:, episodes], rollout)


def set_aside_broken(rollout: Rollout) -> tuple[Rollout, Tensor]:
    """Keep episodes with a non-finite number from spoiling the others.

    Nothing is removed, so that shapes need no look at the numbers and stay
    alike on all ranks.

    Returns:
        The rollout with zeros in place of the broken episodes' real numbers,
        and the episodes' weights (B,): 0 for the broken ones, 1 for others.
    """
    finite = map_tensors(
        lambda tensor: tensor.isfinite().flatten(2).all(-1)
        if tensor.dim() > 2 else tensor.isfinite(), rollout)
    kept = torch.stack([
        finite.rewards, finite.values, finite.log_probs,
        *vars(finite.states).values()
    ]).all(0).all(0)

    def blank(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        per_episode = kept.view(-1, *[1] * (tensor.dim() - 2))
        return tensor.where(per_episode, 0.)

    return map_tensors(blank, rollout), kept.float()
