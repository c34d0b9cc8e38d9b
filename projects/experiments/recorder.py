"""What a descriptor says of the images of a training."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.distillation.selection.selectors.base import Selector
from mmrlkd.registry import SELECTORS
from mmrlkd.structures import Choice, Selection, Signals


@SELECTORS.register_module()
class RecordingSelector(Selector):
    """All levels for every image; writes down what a descriptor says.

    Args:
        descriptor: its name.
        file: takes one number a line, in the order of the images.
    """

    learns = True  # or it would observe nothing

    def __init__(self, descriptor: str, file: str) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.file = Path(file)

    @property
    def descriptors(self) -> tuple[str, ...]:
        return (self.descriptor, )

    def select(self, process: DecisionProcess) -> Choice:
        levels = torch.ones(
            process.batch_size, len(self.space), dtype=torch.bool)
        weights = self.space.weights(levels)
        return Choice(Selection(levels, weights.to(process.device)))

    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        values = signals.describe(self.descriptor).cpu().numpy()
        with self.file.open('a') as file:
            np.savetxt(file, values)
        return {}
