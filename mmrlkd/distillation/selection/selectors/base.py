"""The interface of selectors: which levels, for each image of a batch."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from mmrlkd.distillation.selection.environment import DecisionProcess, check_space
from mmrlkd.rl import Diagnostics
from mmrlkd.structures import Choice, LevelSpace, Signals


class Selector(nn.Module, ABC):
    """Chooses levels. :meth:`select` is all that one needs; one that learns
    also overrides what follows it, which does nothing here.

    Its choices come back to :meth:`observe` with what they led to; what an
    episode holds beyond :class:`~mmrlkd.structures.Choice` is a field of a
    subclass of it. By default the weights of an image sum to one, so that
    selectors differ in *where* an image is distilled and not in how strongly;
    see :attr:`~mmrlkd.structures.LevelSpace.normalize`.
    """

    #: Whether anything is ever distilled.
    uses_teacher: bool = True
    #: Whether the choice depends on the image.
    adaptive: bool = False
    #: Whether rewards improve the choice.
    learns: bool = False
    #: Whether held-out images are needed to learn from.
    needs_held_out: bool = False
    #: Names of the descriptors that the state shows, see :mod:`.descriptors`.
    context: tuple[str, ...] = ()
    #: Steps of the decision process that :meth:`select` plays.
    horizon: int = 1
    #: A mode like ``training``: whether what is selected is learned from.
    learning: bool = True

    def bind(self, space: LevelSpace) -> None:
        """Get to know the levels; raise a ValueError where they don't fit."""
        check_space(space)
        self.space = space

    @abstractmethod
    def select(self, process: DecisionProcess) -> Choice:
        """Choose for each image of a fresh ``process``."""

    @property
    def needs_gradients(self) -> bool:
        """Whether :meth:`observe` asks for signals that need gradients."""
        return False

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the descriptors that :meth:`observe` asks the signals for."""
        return ()

    def spend(self, choice: Choice) -> None:
        """Told what :meth:`select` chose in training, if that is distilled."""

    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        """See how a choice of training turned out.

        Args:
            signals: of the batch.
            choice: what :meth:`select` returned for it.

        Returns:
            0-dim scalars for the log.
        """
        return {}

    def learn(self) -> Diagnostics | None:
        """Improve the choice, once enough was observed; None until then."""
        return None

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
