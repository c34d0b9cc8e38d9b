"""The reward by the distillation losses of the selected levels."""

from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import AdditiveReward


@REWARDS.register_module()
class ResidualReward(AdditiveReward):
    """signal_i = ℓ_i, the loss of level i for the image, in the unit in which it
    is trained: the larger the distance to the teacher, the larger the gain.
    """

    def level_signals(self, signals: Signals) -> Tensor:
        return signals.discrepancy()
