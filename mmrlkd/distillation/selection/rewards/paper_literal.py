"""The draft's reward, kept to show what it does."""

from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import AdditiveReward


@REWARDS.register_module()
class PaperLiteralReward(AdditiveReward):
    """signal_i = −ℓ_i: the loss summed over the *selected* levels is what is
    left to do, as the first draft of the method had it.

    Each level added makes the reward smaller: a policy trained on it collapses
    to as few levels as it is allowed. It stands in the comparison of rewards
    as the reason why the others measure what no selection changes.

    Args:
        efficiency: λ of :class:`Reward`.
    """

    def __init__(self, efficiency: float = 0.5) -> None:
        super().__init__(efficiency=efficiency)

    def level_signals(self, signals: Signals) -> Tensor:
        return -signals.discrepancy()
