"""The reward by the inner product of task and distillation gradients."""

from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import AdditiveReward


@REWARDS.register_module()
class AlignmentReward(AdditiveReward):
    """signal_i = a_i, the inner product of the task's gradient and level i's
    distillation gradient at the student's map of level i.

    To first order, a step of that map along level i's distillation gradient
    lowers the task loss in proportion to a_i. A level with a_i < 0 works
    against the task and reduces the reward. After Du et al. 2018,
    https://arxiv.org/abs/1812.02224.
    """

    needs_gradients = True

    def level_signals(self, signals: Signals) -> Tensor:
        return signals.alignment()
