"""The student alone."""

from mmrlkd.registry import SELECTORS
from mmrlkd.structures import LevelSpace

from .constant import ConstantSelector


@SELECTORS.register_module()
class NoneSelector(ConstantSelector):
    """Selects nothing; the one selector whose weights sum to 0."""

    uses_teacher = False

    def weigh(self, space: LevelSpace) -> list[float]:
        return [0.] * len(space)
