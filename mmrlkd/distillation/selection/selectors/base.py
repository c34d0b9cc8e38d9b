"""The interface of selectors: which levels, for each image of a batch."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from mmrlkd.decision import DecisionProcess, check_space
from mmrlkd.learners import Diagnostics
from mmrlkd.structures import Evidence, LevelSpace, Selection


class Selector(nn.Module, ABC):
    """Chooses levels. One that learns from rewards also overrides the second
    half of the interface, which does nothing here.

    The weights of an image sum to one, so that selectors differ in *where* an
    image is distilled and never in how strongly.
    """

    #: Whether anything is ever distilled.
    uses_teacher: ClassVar[bool] = True
    #: Whether the choice depends on the image.
    adaptive: ClassVar[bool] = False
    #: Whether rewards improve the choice.
    learns: ClassVar[bool] = False
    #: Whether held-out images are needed to learn from.
    needs_held_out: ClassVar[bool] = False
    #: Steps of the decision process that :meth:`select` plays.
    horizon: int = 1

    def bind(self, space: LevelSpace) -> None:
        """Get to know the levels; raise a ValueError where they don't fit."""
        check_space(space)
        self.space = space

    @abstractmethod
    def select(self, process: DecisionProcess) -> Selection:
        """Choose for each image of a fresh ``process``."""

    @property
    def needs_gradients(self) -> bool:
        """Whether :meth:`observe` asks for evidence that needs gradients."""
        return False

    def observe(self, evidence: Evidence) -> None:
        """See how the last selection of training turned out."""

    def learn(self) -> Diagnostics | None:
        """Improve the choice, once enough was observed; None until then."""
        return None

    def report(self) -> dict[str, Tensor]:
        """Scalars about what was observed last, for the log."""
        return {}

    def set_progress(self, fraction: float) -> None:
        """Say how much of the training is over, from 0 to 1."""

    def run_state(self) -> dict[str, Any]:
        """What a resumed run needs beside the student: tensors, numbers and
        containers of them only. Equal on all ranks."""
        return {}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`run_state`."""

    def local_run_state(self) -> dict[str, Any]:
        """Like :meth:`run_state`, what differs from rank to rank."""
        return {}

    def load_local_run_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`local_run_state`."""
