"""How many residual blocks of each stage are run."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from torch import Tensor, nn

from mmrlkd.arguments import check_integer, refuse
from mmrlkd.dynamic.patching import Patches
from mmrlkd.dynamic.residual import keeps_shape, residual_stages
from mmrlkd.registry import KNOBS

from .base import Knob


@KNOBS.register_module()
class ResidualBlocks(Knob):
    """Runs the first blocks of each stage and skips the others as identity.

    Changes the backbone's forward pass. A residual block adds something to its
    input; skipped, it adds nothing (Huang et al. 2016, "Deep networks with
    stochastic depth"; Wu et al. 2018, "BlockDrop"). Blocks that change the
    shape always run. Fits ResNet and its subclasses; a network that was not
    trained with blocks dropped loses much.

    Args:
        run: for each value the number of blocks run in each stage, cheapest
            first, such as ``[(1, 1, 1, 1), (2, 2, 2, 2)]`` for a ResNet-18. The
            last one has all blocks. In the table they read ``1-1-1-1``.
    """

    name = 'blocks'

    def __init__(self, run: Sequence[Sequence[int]]) -> None:
        owner = type(self).__name__
        for i, counts in enumerate(run):
            for k, count in enumerate(counts):
                check_integer(owner, f'run[{i}][{k}]', count, 0)
        totals = [sum(counts) for counts in run]
        if not totals or any(a >= b for a, b in zip(totals, totals[1:])):
            refuse(owner, 'run', run, 'lists of blocks for each stage, each with '
                   'more blocks in total than the one before')
        self.run = [tuple(counts) for counts in run]
        self.values = tuple('-'.join(map(str, counts)) for counts in run)
        self.full = len(self.values) - 1

    def bind(self, model: nn.Module) -> None:
        stages = residual_stages(getattr(model, 'backbone', model))
        if stages is None:
            raise self._unfit(
                model, 'models whose backbone is a ResNet, or a subclass of '
                'it, of mmdet, mmseg or mmpretrain')
        owner, all_blocks = type(self).__name__, tuple(map(len, stages))
        if self.run[-1] != all_blocks:
            refuse(owner, 'run[-1]', self.run[-1],
                   f'{all_blocks}, all blocks of the backbone')
        for i, counts in enumerate(self.run):
            if len(counts) != len(stages):
                refuse(owner, f'run[{i}]', counts,
                       f'one number for each of {len(stages)} stages')
            for k, (count, stage) in enumerate(zip(counts, stages)):
                least = max((n + 1 for n, block in enumerate(stage)
                             if not keeps_shape(block)), default=0)
                check_integer(owner, f'run[{i}][{k}]', count, least, len(stage))
        self.skipped = [
            [block for count, stage in zip(counts, stages)
             for block in stage[count:]] for counts in self.run]

    def changed_modules(self, choice: int) -> Sequence[nn.Module]:
        return self.skipped[choice]

    def set(self, choice: int) -> AbstractContextManager[None]:
        return Patches(
            [(block, 'forward', _identity) for block in self.skipped[choice]])


def _identity(x: Tensor) -> Tensor:
    return x
