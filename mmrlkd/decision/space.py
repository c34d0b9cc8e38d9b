"""Is there anything to choose from? Asked once, when a selector is bound."""

import math
from typing import TypeVar

from torch import Tensor

from mmrlkd.structures import LevelSpace

#: Relative slack of the budget, so that costs of 0.1 and 0.2 fit in 0.3.
TOLERANCE = 1e-9

Cost = TypeVar('Cost', float, Tensor)


def within_budget(cost: Cost, space: LevelSpace) -> Cost:
    """Whether ``cost`` (a number or a float64 tensor) fits in the budget."""
    return cost <= space.budget * (1 + TOLERANCE)


def check_space(space: LevelSpace) -> None:
    """Raise a ValueError if no level could ever be selected."""
    if not space.names:
        raise ValueError(
            "levels=() names no level; give at least one, e.g. ('P5', ).")
    if len(set(space.names)) != len(space.names):
        raise ValueError(
            f'levels={space.names} names a level twice; names must differ.')
    if len(space.costs) != len(space.names):
        raise ValueError(
            f'costs={space.costs} must hold one cost for each of the levels '
            f'{space.names}.')
    for name, cost in zip(space.names, space.costs, strict=True):
        if not (cost > 0 and math.isfinite(cost)):
            raise ValueError(
                f'The cost of level {name} is {cost}; costs must be finite '
                'and greater than 0.')
    cheapest = min(space.costs)
    if not within_budget(cheapest, space):
        name = space.names[space.costs.index(cheapest)]
        raise ValueError(
            f'budget={space.budget} does not pay for a single level; it must '
            f'be at least {cheapest}, the cost of {name}.')
