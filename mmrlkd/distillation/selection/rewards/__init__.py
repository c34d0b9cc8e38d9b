"""Rewards: the gain of a selection. The selector subtracts the cost."""

from .alignment import AlignmentReward
from .base import AdditiveReward, Reward
from .group_worth import GroupWorthReward
from .lookahead import LookaheadReward
from .paper_literal import PaperLiteralReward
from .residual import ResidualReward
from .stream import StreamMean
from .worth import WorthReward

__all__ = [
    'AdditiveReward', 'AlignmentReward', 'GroupWorthReward',
    'LookaheadReward', 'PaperLiteralReward', 'ResidualReward', 'Reward',
    'StreamMean', 'WorthReward'
]
