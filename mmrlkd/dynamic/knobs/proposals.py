"""How many candidate boxes a detector keeps."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from mmrlkd.arguments import check_integer, refuse
from mmrlkd.dynamic.libraries import find_library
from mmrlkd.dynamic.patching import Patches
from mmrlkd.registry import KNOBS

from .base import Knob, check_ascending


@KNOBS.register_module()
class Proposals(Knob):
    """Keeps fewer of the boxes that score best.

    In a two-stage detector of mmdet: the RPN's ``max_per_img``, the boxes that
    its second stage sees, and in proportion its ``nms_pre``. In a one-stage
    detector: ``nms_pre``, the boxes of each level before NMS. Changes the
    ``test_cfg`` that the head reads.

    Args:
        keep: numbers of boxes, ascending; the last is that of the model.
    """

    name = 'proposals'
    values: tuple[int, ...]

    def __init__(self, keep: Sequence[int]) -> None:
        owner = type(self).__name__
        for i, number in enumerate(keep):
            check_integer(owner, f'keep[{i}]', number, 1)
        self.values = tuple(keep)
        check_ascending(owner, 'keep', self.values)
        self.full = len(self.values) - 1

    def bind(self, model: nn.Module) -> None:
        found = find_library(model).proposals()
        if found is None:
            raise self._unfit(
                model, 'two-stage detectors of mmdet with an RPNHead, and '
                'one-stage detectors with nms_pre in their test_cfg')
        self.head, key = found
        own = self.head.test_cfg[key]
        if self.values[-1] != own:
            refuse(type(self).__name__, 'keep[-1]', self.values[-1],
                   f"{own}, the {key} of the model's test_cfg")
        pre = self.head.test_cfg.get('nms_pre', -1)
        self.test_cfgs = []
        for value in self.values:
            cfg = self.head.test_cfg.copy()
            cfg[key] = value
            if key != 'nms_pre' and pre > 0:
                cfg['nms_pre'] = max(1, round(pre * value / own))
            self.test_cfgs.append(cfg)

    def set(self, choice: int) -> AbstractContextManager[None]:
        if choice == self.full:
            return nullcontext()
        return Patches([(self.head, 'test_cfg', self.test_cfgs[choice])])
