"""Does distilling a level push where the task pushes?"""

from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import AdditiveReward


@REWARDS.register_module()
class AlignmentReward(AdditiveReward):
    """signal_i = a_i, the inner product of the task's gradient and level i's
    distillation gradient at the student's maps, both as they are trained.

    To first order, a student step along level i's distillation gradient
    lowers the task loss in proportion to a_i; a level that works against the
    task (a_i < 0) loses. After Du et al. 2018,
    https://arxiv.org/abs/1812.02224.
    """

    needs_gradients = True

    def level_signals(self, signals: Signals) -> Tensor:
        return signals.alignment()
