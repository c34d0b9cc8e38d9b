"""The draft's reward, kept to show what it does."""

from torch import Tensor

from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import Reward


@REWARDS.register_module()
class PaperLiteralReward(Reward):
    """L = Σ_{i selected} ℓ_i, as the first draft of the method had it.

    The sum runs over the *selected* levels, so each level added makes L
    larger and the reward smaller: a policy trained on it collapses to as few
    levels as it is allowed. It stands in the comparison of rewards as the
    reason why the others measure with a potential that no selection changes.
    """

    def potential(self, levels: Tensor, signals: Signals) -> Tensor:
        return signals.discrepancy().where(levels, 0.).sum(-1)
