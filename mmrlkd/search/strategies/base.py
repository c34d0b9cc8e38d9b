"""The interface of strategies: which recipes to try next."""

from abc import ABC, abstractmethod
from typing import ClassVar

from mmrlkd.distillation.selection.environment import check_space
from mmrlkd.search.recipe import Recipe
from mmrlkd.structures import LevelSpace


class Strategy(ABC):
    """Proposes recipes in batches and is told their fitness.

    What it asks is a function of the seed and of what it was told before, in
    which order. It draws from a generator of its own. So a search is resumed by
    asking and telling again, and needs no checkpoint.
    """

    #: Whether a batch depends on the fitness of earlier ones.
    adaptive: ClassVar[bool] = False

    def bind(self, space: LevelSpace, seed: int) -> None:
        """Set the levels.

        Raises:
            ValueError: the strategy cannot search in them.
        """
        check_space(space)
        self.space = space

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of recipes in all batches, once bound."""

    @abstractmethod
    def ask(self) -> list[Recipe]:
        """The next batch; empty once there is none left."""

    @abstractmethod
    def tell(self, batch: list[Recipe], fitness: list[float]) -> None:
        """Get the fitness of a batch. Batches are told in the order of asking;
        later ones may have been asked for before.

        Args:
            batch: as it was asked.
            fitness: of each recipe, higher is better; −inf for a failure.
        """
