"""The reward of the method's first draft, kept for comparison."""

from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import AdditiveReward


@REWARDS.register_module()
class PaperLiteralReward(AdditiveReward):
    """signal_i = −ℓ_i: minus the sum of the losses of the *selected* levels, as
    in the first draft of the method.

    Each selected level lowers the reward, so a policy that is trained on it
    selects as few levels as it is allowed. The comparison of rewards includes
    it to show why the others are computed from the losses of all levels.

    Args:
        efficiency: λ of :class:`Reward`.
    """

    def __init__(self, efficiency: float = 0.5) -> None:
        super().__init__(efficiency=efficiency)

    def level_signals(self, signals: Signals) -> Tensor:
        return -signals.discrepancy()
