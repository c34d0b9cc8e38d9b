"""The reward by the full pyramid's loss after a virtual student step."""

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import REWARDS
from mmrlkd.rl import subset_table
from mmrlkd.structures import Signals

from .base import Reward


@REWARDS.register_module()
class LookaheadReward(Reward):
    """G(x, s) = how much a virtual student step on the levels ``s`` lowers the
    full pyramid's loss of the image; see :meth:`.BatchSignals.after_step`.

    The neck connects the levels, so G is not a sum over them: each of the 2^L
    subsets needs a forward pass of the neck for the batch.

    Args:
        step: size of the virtual step relative to the map, > 0.
        efficiency: λ of :class:`Reward`.
    """

    needs_gradients = True

    def __init__(self, step: float = 0.1, efficiency: float = 0.5) -> None:
        super().__init__(efficiency)
        self.step = check_number(
            'LookaheadReward', 'step', step, 0, open='low')

    def raw_gains(self, signals: Signals) -> Tensor:
        losses = signals.discrepancy()
        table = subset_table(losses.shape[1], losses.device)
        # Subset by subset: all at once would need 2^L times the maps' memory.
        left = torch.stack([
            signals.after_step(subset.expand_as(losses), self.step)
            for subset in table], dim=1)
        return left[:, :1] - left  # subset 0, the empty one, takes no step
