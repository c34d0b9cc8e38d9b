"""By hand: the coarser a level, the more it counts."""

from mmrlkd.registry import SELECTORS
from mmrlkd.structures import LevelSpace

from .constant import ConstantSelector


@SELECTORS.register_module()
class ManualDeepSelector(ConstantSelector):
    """All levels, weights rising linearly: .1 .2 .3 .4 for four."""

    def weigh(self, space: LevelSpace) -> list[float]:
        return [float(i + 1) for i in range(len(space))]
