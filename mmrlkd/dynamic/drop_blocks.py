"""Residual blocks that may be skipped, and stochastic depth that drops them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse


def residual_stages(backbone: nn.Module, owner: str) -> list[list[nn.Module]]:
    """The residual blocks of a ResNet of mmdet, mmseg or mmpretrain, by stage.

    Args:
        backbone: a ResNet, or one of the libraries' networks that inherit its
            stages (ResNeXt, Res2Net, ResNeSt, RegNet, …).
        owner: see :func:`~mmrlkd.arguments.refuse`.

    Raises:
        ValueError: the backbone has no stages of residual blocks.
    """
    names = getattr(backbone, 'res_layers', ())
    stages = [list(getattr(backbone, name)) for name in names]
    if not stages or not all(
            hasattr(block, 'downsample') for stage in stages for block in stage):
        refuse(owner, 'backbone', type(backbone).__name__,
               'a network with the residual stages of a ResNet (res_layers, '
               'whose blocks have a downsample)')
    return stages


def can_skip(block: nn.Module) -> bool:
    """Whether the identity may stand for a block: it changes no shape."""
    return block.downsample is None


class StochasticDepth:
    """Stochastic depth (Huang et al., *Deep Networks with Stochastic Depth*,
    ECCV 2016, https://arxiv.org/abs/1603.09382): each iteration trains a network
    without some of its blocks.

    As in the paper, a block is dropped for a whole batch, so that its computation
    is saved, and block l of L is dropped with probability ``rate`` · l / L: the
    early blocks, on which all others build, are dropped least. A block whose
    shortcut changes the shape, the first of most stages, is never dropped.

    Unlike in the paper, nothing is rescaled at inference: what an iteration trains
    is exactly a network that :class:`~mmrlkd.dynamic.knobs.Blocks` can set, and
    the whole one among them (as Fan et al., *Reducing Transformer Depth on Demand
    with Structured Dropout*, ICLR 2020, https://arxiv.org/abs/1909.11556).

    Args:
        backbone: see :func:`residual_stages`.
        rate: probability with which the last block is dropped, in [0, 1).
    """

    def __init__(self, backbone: nn.Module, rate: float) -> None:
        check_number('StochasticDepth', 'rate', rate, 0, 1, open='high')
        blocks = [block for stage in residual_stages(backbone, 'StochasticDepth')
                  for block in stage]
        self._rates = {block: rate * number / len(blocks)
                       for number, block in enumerate(blocks, 1) if can_skip(block)}

    @property
    def rates(self) -> tuple[float, ...]:
        """With which the blocks that can be dropped are, in their order."""
        return tuple(self._rates.values())

    @contextmanager
    def drop(self, numbers: Sequence[float]) -> Iterator[None]:
        """The model trains without some of its blocks inside; in eval mode it
        keeps them all.

        Args:
            numbers: uniform in [0, 1), one for each of ``rates``; a block is
                dropped if its number is below its rate.
        """
        dropped = [
            block for (block, rate), number
            in zip(self._rates.items(), numbers, strict=True) if number < rate]
        # An attribute of the instance hides the method of the class.
        for block in dropped:
            block.forward = partial(_skip_in_training, block)
        try:
            yield
        finally:
            for block in dropped:
                del block.forward


def _skip_in_training(block: nn.Module, x: Tensor) -> Tensor:
    return x if block.training else type(block).forward(block, x)
