"""The size at which the model sees the image."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse
from mmrlkd.dynamic.libraries import Library, find_library
from mmrlkd.dynamic.patching import Patches
from mmrlkd.registry import KNOBS

from .base import Knob, check_ascending


@KNOBS.register_module()
class InputScale(Knob):
    """Resizes the preprocessed batch before the model.

    Changes the input of the model's ``predict`` and the samples' meta data, so
    that boxes and masks come out in the original image's coordinates, and label
    maps and their logits in its size. Fits models that take images of several
    sizes. Resizing is bilinear with antialiasing.

    Args:
        scales: factors of height and width, ascending, 1.0 among them.
    """

    name = 'scale'
    values: tuple[float, ...]

    def __init__(self, scales: Sequence[float] = (0.5, 0.75, 1.0)) -> None:
        owner = type(self).__name__
        for i, scale in enumerate(scales):
            check_number(owner, f'scales[{i}]', scale, 0, 4, open='low')
        self.values = tuple(map(float, scales))
        check_ascending(owner, 'scales', self.values)
        if 1.0 not in self.values:
            refuse(owner, 'scales', scales, 'numbers with 1.0 among them, which '
                   'leaves the image as it is')
        self.full = self.values.index(1.0)

    def bind(self, model: nn.Module) -> None:
        self.library = find_library(model)

    def input_scale(self, choice: int) -> float:
        return self.values[choice]

    def set(self, choice: int) -> AbstractContextManager[None]:
        if choice == self.full:
            return nullcontext()
        model = self.library.model
        return Patches([(model, 'predict', _Resized(
            self.library, model.predict, self.values[choice]))])


class _Resized:
    """``predict`` of a model on the resized images."""

    def __init__(self, library: Library, predict: Any, scale: float) -> None:
        self.library, self.predict, self.scale = library, predict, scale

    def __call__(self, inputs: Tensor, data_samples: list) -> list:
        """As the model's own: (B, C, H, W) and B samples, which get the
        predictions."""
        small, views = self.library.resized(inputs, data_samples, self.scale)
        return self.library.adopt(data_samples, self.predict(small, views))
