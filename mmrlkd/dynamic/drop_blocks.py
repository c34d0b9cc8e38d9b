"""Stochastic depth: training without some of the residual blocks."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse

from .patching import Patches
from .residual import keeps_shape, residual_stages


class StochasticDepth:
    """Stochastic depth (Huang et al., *Deep Networks with Stochastic Depth*,
    ECCV 2016, https://arxiv.org/abs/1603.09382): each iteration trains a network
    without some of its blocks.

    As in the paper, a block is dropped for a whole batch, so that its computation
    is saved, and block l of L is dropped with probability ``rate`` · l / L: the
    early blocks, on which all others build, are dropped least. A block whose
    shortcut changes the shape, the first of most stages, is never dropped.

    Unlike in the paper, nothing is rescaled at inference: what an iteration trains
    is exactly a network that :class:`~mmrlkd.dynamic.knobs.ResidualBlocks` can
    run, and the whole one among them (as Fan et al., *Reducing Transformer Depth
    on Demand with Structured Dropout*, ICLR 2020, https://arxiv.org/abs/1909.11556).

    Args:
        backbone: a ResNet of mmdet, mmseg or mmpretrain, or a subclass of it.
        rate: probability with which the last block is dropped, in [0, 1).

    Raises:
        ValueError: the backbone is another network.
    """

    def __init__(self, backbone: nn.Module, rate: float) -> None:
        check_number('StochasticDepth', 'rate', rate, 0, 1, open='high')
        stages = residual_stages(backbone)
        if stages is None:
            refuse('StochasticDepth', 'backbone', type(backbone).__name__,
                   'a ResNet of mmdet, mmseg or mmpretrain, or a subclass of it')
        blocks = [block for stage in stages for block in stage]
        self._rates = {block: rate * number / len(blocks)
                       for number, block in enumerate(blocks, 1)
                       if keeps_shape(block)}

    @property
    def rates(self) -> tuple[float, ...]:
        """With which the blocks that can be dropped are, in their order."""
        return tuple(self._rates.values())

    def drop(self, numbers: Sequence[float]) -> AbstractContextManager[None]:
        """The model trains without some of its blocks inside; in eval mode it
        keeps them all.

        Args:
            numbers: uniform in [0, 1), one for each of ``rates``; a block is
                dropped if its number is below its rate.
        """
        return Patches([
            (block, 'forward', partial(_skip_in_training, block))
            for (block, rate), number in zip(
                self._rates.items(), numbers, strict=True) if number < rate])


def _skip_in_training(block: nn.Module, x: Tensor) -> Tensor:
    return x if block.training else type(block).forward(block, x)
