"""The interface of selectors: which levels, for each image of a batch."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from mmrlkd.distillation.selection.environment import DecisionProcess, check_space
from mmrlkd.rl import Diagnostics
from mmrlkd.structures import Choice, LevelSpace, Signals


class Selector(nn.Module, ABC):
    """Chooses levels. A selector must implement :meth:`select`. One that learns
    also overrides the methods below it, which do nothing here.

    :meth:`observe` gets the return value of :meth:`select` back, together with
    the signals of the batch. What a selector needs there beyond
    :class:`~mmrlkd.structures.Choice` is a field of a subclass of it. By default
    the weights of an image sum to one, so that selectors differ in *which*
    levels they distil and not in how strongly; see
    :attr:`~mmrlkd.structures.LevelSpace.normalize`.
    """

    #: Whether it selects any level at all; False needs no teacher.
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
    #: A mode like ``training``, set by ``step.py``: whether :meth:`observe`
    #: follows this :meth:`select`.
    learning: bool = True

    def bind(self, space: LevelSpace) -> None:
        """Store the levels, and build what depends on them.

        Raises:
            ValueError: the selector cannot work with these levels.
        """
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
        """Store what is learned from a choice that was made in training.

        Args:
            signals: of the batch.
            choice: what :meth:`select` returned for it.

        Returns:
            0-dim scalars for the log.
        """
        return {}

    def learn(self) -> Diagnostics | None:
        """Update the selector once enough was observed; None until then."""
        return None

    def set_progress(self, fraction: float) -> None:
        """Set the share of the learning that is done, from 0 to 1, for learning
        rates and temperatures that decay."""

    def run_state(self) -> dict[str, Any]:
        """State for resuming, equal on all ranks: tensors, numbers and containers
        of them only, because checkpoints load with ``weights_only=True``."""
        return {}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`run_state`."""

    def local_run_state(self) -> dict[str, Any]:
        """Like :meth:`run_state`, for state that differs between ranks."""
        return {}

    def load_local_run_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`local_run_state`."""
