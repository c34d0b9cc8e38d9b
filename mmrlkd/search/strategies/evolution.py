"""Ageing evolution."""

import random
from collections import deque

from mmrlkd.arguments import check_integer
from mmrlkd.registry import STRATEGIES
from mmrlkd.search.recipe import Recipe
from mmrlkd.structures import LevelSpace

from .subsets import SubsetStrategy


@STRATEGIES.register_module()
class EvolutionSearch(SubsetStrategy):
    """Ageing evolution, Real et al. 2019, https://arxiv.org/abs/1802.01548,
    with uniform crossover, over the feasible subsets.

    A generation of children is one batch. Each of the two parents of a child
    wins a tournament among recipes drawn with replacement. Each level of the
    child comes from one of the parents; then a mutation changes the child. The
    children replace the oldest recipes, whatever their fitness, so that a recipe
    does not survive by one lucky score. The result is therefore the best recipe
    of the history, not of the population.

    Until the first generation has been told, subsets are drawn uniformly.

    Args:
        population: size of the population and of a generation.
        generations: batches, with the first, random one.
        tournament: contestants, the fittest of which becomes a parent.
    """

    adaptive = True

    def __init__(self, population: int = 20, generations: int = 100,
                 tournament: int = 5) -> None:
        owner = type(self).__name__
        self.population = check_integer(owner, 'population', population, 1)
        self.generations = check_integer(owner, 'generations', generations, 1)
        self.tournament = check_integer(owner, 'tournament', tournament, 1)

    def bind(self, space: LevelSpace, seed: int) -> None:
        super().bind(space, seed)
        self._rng = random.Random(seed)
        self._asked = 0
        #: The population as (subset, fitness), oldest first.
        self.living: deque[tuple[int, float]] = deque(maxlen=self.population)

    @property
    def total(self) -> int:
        return self.population * self.generations

    def ask(self) -> list[Recipe]:
        if self._asked == self.generations:
            return []
        self._asked += 1
        return [self.recipe(self._child()) for _ in range(self.population)]

    def tell(self, batch: list[Recipe], fitness: list[float]) -> None:
        self.living.extend(
            (self.subset(recipe), value)
            for recipe, value in zip(batch, fitness, strict=True))

    def select(self) -> int:
        """The winner of a tournament; of equals the first drawn."""
        # max() takes the first of equals.
        contestants = self._rng.choices(self.living, k=self.tournament)
        return max(contestants, key=lambda member: member[1])[0]

    def cross(self, one: int, other: int) -> int:
        """Each level from either parent, with equal probability; the child may
        be infeasible."""
        # A subset is an integer, bit i for level i: one random bit per level.
        mask = self._rng.getrandbits(len(self.space))
        return one & mask | other & ~mask

    def mutate(self, subset: int) -> int:
        """Change one level, or more if no feasible subset differs in one.

        Draws uniformly among the feasible subsets of the smallest Hamming
        distance > 0, which mutates the child and makes it feasible.
        """
        distance = {other: (subset ^ other).bit_count()
                    for other in self.feasible if other != subset}
        if not distance:  # this is the only feasible subset
            return subset
        least = min(distance.values())
        return self._rng.choice(
            [other for other, bits in distance.items() if bits == least])

    def _child(self) -> int:
        if not self.living:
            return self._rng.choice(self.feasible)
        return self.mutate(self.cross(self.select(), self.select()))
