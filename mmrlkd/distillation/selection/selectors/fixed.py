"""Levels and weights as the config names them."""

from collections.abc import Mapping, Sequence
from math import isfinite

from mmrlkd.registry import SELECTORS
from mmrlkd.structures import LevelSpace

from .constant import ConstantSelector


@SELECTORS.register_module()
class FixedSelector(ConstantSelector):
    """Any levels, any weights, by name.

    ``levels=('P4', 'P5')`` weighs them alike; ``weights=dict(P4=1, P5=3)``
    selects the levels it names; with both, they name the same levels.

    Args:
        levels: names of levels, at least one.
        weights: weight > 0 of each level, in any unit: they are divided by
            their sum.
    """

    def __init__(self, levels: Sequence[str] | None = None,
                 weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not levels and not weights:
            raise ValueError(
                f'FixedSelector(levels={levels}, weights={weights}) selects '
                'nothing; name at least one level, or use NoneSelector.')
        if levels and weights and set(levels) != set(weights):
            raise ValueError(
                f'FixedSelector: weights={dict(weights)} must name exactly '
                f'the levels={list(levels)}.')
        self.weights = dict(weights or dict.fromkeys(levels or (), 1.))
        for name, weight in self.weights.items():
            if not (weight > 0 and isfinite(weight)):
                raise ValueError(
                    f'FixedSelector: weights[{name!r}]={weight} must be '
                    'greater than 0; leave out a level not to be distilled.')

    def weigh(self, space: LevelSpace) -> list[float]:
        unknown = self.weights.keys() - set(space.names)
        if unknown:
            raise ValueError(
                f'FixedSelector names the levels {sorted(unknown)}, which '
                f'are not among {space.names}.')
        return [float(self.weights.get(name, 0.)) for name in space.names]
