"""The interface of strategies: which recipes to try next."""

from abc import ABC, abstractmethod
from typing import ClassVar

from mmrlkd.distillation.selection.environment import check_space
from mmrlkd.search.recipe import Recipe
from mmrlkd.structures import LevelSpace


class Strategy(ABC):
    """Proposes recipes, batch by batch, and hears how good they were.

    A state machine: the seed and what it is told, in which order, decide
    everything it asks. It draws from a generator of its own, so that a search
    is resumed by asking and telling again, and needs no checkpoint.
    """

    #: Whether a batch depends on how earlier ones turned out.
    adaptive: ClassVar[bool] = False

    def bind(self, space: LevelSpace, seed: int) -> None:
        """Get to know the levels; raise a ValueError where they don't fit."""
        check_space(space)
        self.space = space

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of recipes that are asked for altogether, once bound."""

    @abstractmethod
    def ask(self) -> list[Recipe]:
        """The next batch; empty when there is none, and ever after."""

    @abstractmethod
    def tell(self, batch: list[Recipe], fitness: list[float]) -> None:
        """Hear about a batch. Batches are told in the order of asking, but
        later ones may have been asked for in the meantime.

        Args:
            batch: as it was asked.
            fitness: of each recipe, higher is better; −inf for a failure.
        """
