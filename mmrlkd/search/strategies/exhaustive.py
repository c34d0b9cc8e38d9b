"""Exhaustive search, the reference for all others."""

from mmrlkd.registry import STRATEGIES
from mmrlkd.search.recipe import Recipe
from mmrlkd.structures import LevelSpace

from .subsets import SubsetStrategy


@STRATEGIES.register_module()
class ExhaustiveSearch(SubsetStrategy):
    """Every feasible subset of the levels, once, in a single batch."""

    def bind(self, space: LevelSpace, seed: int) -> None:
        super().bind(space, seed)
        self._left = self.order(seed)
        self._total = len(self._left)

    def order(self, seed: int) -> list[int]:
        """The subsets to try, in this order."""
        return self.feasible

    @property
    def total(self) -> int:
        return self._total

    def ask(self) -> list[Recipe]:
        batch, self._left = self._left, []
        return [self.recipe(subset) for subset in batch]

    def tell(self, batch: list[Recipe], fitness: list[float]) -> None:
        """Nothing depends on it."""
