"""The interface of learners."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from mmrlkd.policies import Policy
from mmrlkd.structures import Rollout


@dataclass(frozen=True)
class Diagnostics:
    """What an update reports; every field a 0-dim tensor on the device, equal
    on all ranks."""


class Learner(ABC):
    """Improves the policy it is bound to."""

    #: Episodes that it wants of each image, side by side in a rollout.
    group_size: int = 1

    @abstractmethod
    def bind(self, policy: Policy) -> None:
        """Take charge of a built policy; the same weights on every rank."""

    @abstractmethod
    def update(self, rollout: Rollout) -> Diagnostics:
        """Learn from episodes that the policy played as it is now.

        Called by all ranks at once, each with its own episodes.
        """

    @abstractmethod
    def set_progress(self, fraction: float) -> None:
        """Say how much of the training is over, from 0 to 1."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; tensors, numbers and containers only."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, bit for bit."""
