"""Random search, the baseline of all others."""

import random

from mmrlkd.arguments import check_integer
from mmrlkd.registry import STRATEGIES

from .exhaustive import ExhaustiveSearch


@STRATEGIES.register_module()
class RandomSearch(ExhaustiveSearch):
    """Feasible subsets in random order, without replacement, stopped early.

    Bergstra and Bengio 2012, "Random search for hyper-parameter optimization".

    Args:
        evaluations: number of subsets; at most all feasible ones are tried.
    """

    def __init__(self, evaluations: int) -> None:
        self.evaluations = check_integer(
            'RandomSearch', 'evaluations', evaluations, 1)

    def order(self, seed: int) -> list[int]:
        return random.Random(seed).sample(
            self.feasible, min(self.evaluations, len(self.feasible)))
