"""What a selection is worth: quality gained and cost saved, step by step."""

from .alignment import AlignmentReward
from .base import Reward
from .lookahead import LookaheadReward
from .paper_literal import PaperLiteralReward
from .residual import ResidualReward

__all__ = [
    'AlignmentReward', 'LookaheadReward', 'PaperLiteralReward',
    'ResidualReward', 'Reward'
]
