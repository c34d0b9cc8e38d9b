"""All levels alike."""

from mmrlkd.registry import SELECTORS
from mmrlkd.structures import LevelSpace

from .constant import ConstantSelector


@SELECTORS.register_module()
class UniformSelector(ConstantSelector):
    """All levels, 1/L each."""

    def weigh(self, space: LevelSpace) -> list[float]:
        return [1.] * len(space)
