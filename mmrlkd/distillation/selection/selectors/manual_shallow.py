"""By hand: the finer a level, the more it counts."""

from mmrlkd.registry import SELECTORS
from mmrlkd.structures import LevelSpace

from .constant import ConstantSelector


@SELECTORS.register_module()
class ManualShallowSelector(ConstantSelector):
    """All levels, weights falling linearly: .4 .3 .2 .1 for four."""

    def weigh(self, space: LevelSpace) -> list[float]:
        return [float(len(space) - i) for i in range(len(space))]
