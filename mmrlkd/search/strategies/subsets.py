"""The base of strategies that search among subsets of levels."""

from mmrlkd.distillation.selection.environment import subset_costs, within_budget
from mmrlkd.search.recipe import Recipe
from mmrlkd.structures import LevelSpace

from .base import Strategy


class SubsetStrategy(Strategy):
    """Recipes in which each level learns from the teacher's level of its name,
    or not at all.

    Attributes:
        feasible: indices of the subsets that are not empty and within the
            budget, ascending; at least one.
    """

    def bind(self, space: LevelSpace, seed: int) -> None:
        super().bind(space, seed)
        feasible = within_budget(subset_costs(space.costs), space)
        feasible[0] = False  # the empty subset
        self.feasible: list[int] = feasible.nonzero()[:, 0].tolist()

    def recipe(self, subset: int) -> Recipe:
        """The recipe of the subset with this index."""
        return Recipe.subset(
            name for i, name in enumerate(self.space.names) if subset >> i & 1)

    def subset(self, recipe: Recipe) -> int:
        """The inverse of :meth:`recipe`."""
        return sum(1 << self.space.names.index(name) for name in recipe.names)
