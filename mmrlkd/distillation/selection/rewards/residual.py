"""How far is the student from its teacher, at the levels selected?"""

from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import AdditiveReward


@REWARDS.register_module()
class ResidualReward(AdditiveReward):
    """signal_i = ℓ_i, the loss of the level for the image, as it is trained.

    A level that contributes most of the training loss is worth most, and so
    is an image that is far from its teacher.
    """

    def level_signals(self, signals: Signals) -> Tensor:
        return signals.discrepancy()
