"""The reward by the measured value of a level, times a signal of the image."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mmrlkd.arguments import refuse
from mmrlkd.registry import REWARDS
from mmrlkd.structures import Signals

from .base import AdditiveReward

#: Values of ``signal`` that are not names of descriptors.
_SIGNALS = ('discrepancy', 'alignment', 'task_gap')


@REWARDS.register_module()
class WorthReward(AdditiveReward):
    """g_i(x) = v_i · signal(x) / E|signal|, with a running mean over the images.

    Args:
        level_values: v_i, see :class:`.base.AdditiveReward`.
        signal: ``'discrepancy'`` or ``'alignment'``, of each level;
            ``'task_gap'``, the student's task loss minus the teacher's; or a
            descriptor of the image, such as ``'teacher_confidence'`` or
            ``'teacher_detections'``.
        efficiency: see :class:`.base.Reward`.
    """

    def __init__(self, level_values: Mapping[str, float] | Sequence[float],
                 signal: str = 'discrepancy', efficiency: float = 0.5) -> None:
        if level_values is None:
            refuse('WorthReward', 'level_values', level_values,
                   'a number for each level, in a list or by name')
        super().__init__(level_values, efficiency)
        if not isinstance(signal, str) or not signal:
            refuse('WorthReward', 'signal', signal,
                   f"{', '.join(map(repr, _SIGNALS))} or a descriptor's name")
        self.signal = signal
        self.needs_gradients = signal == 'alignment'
        if signal == 'task_gap':
            self.descriptors = ('student_loss', 'teacher_loss')
        elif signal not in _SIGNALS:
            self.descriptors = (signal, )

    def level_signals(self, signals: Signals) -> Tensor:
        if self.signal == 'discrepancy':
            return signals.discrepancy()
        if self.signal == 'alignment':
            return signals.alignment()
        image = signals.describe(self.descriptors[0])
        if self.signal == 'task_gap':
            image = image - signals.describe('teacher_loss')
        return image[:, None].expand(-1, len(self.level_values))
