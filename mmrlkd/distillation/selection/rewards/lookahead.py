"""What would be left after the student took the step?"""

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import Reward


@REWARDS.register_module()
class LookaheadReward(Reward):
    """L = full-pyramid loss after a virtual student step on the selection, in
    units of the loss before.

    Args:
        step: size of the virtual step relative to the map, > 0.
        efficiency: λ of :class:`Reward`.
    """

    needs_gradients = True

    def __init__(self, step: float = 0.1, efficiency: float = 0.5) -> None:
        super().__init__(efficiency)
        self.step = check_number(
            'LookaheadReward', 'step', step, 0, open='low')

    def potential(self, levels: Tensor, signals: Signals) -> Tensor:
        if levels.dim() == 2:
            return signals.after_step(levels, self.step)
        return torch.stack([self.potential(each, signals) for each in levels])
