"""The interface between knobs and a task library's models."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Area:
    """A rectangle of the model's input, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


class Library(ABC):
    """What the samples of a library's models hold, and how predictions for
    pictures made of an image become predictions for the image.

    Args:
        model: one that :meth:`handles` accepts.
    """

    task: str
    #: Type of the measure of one image's prediction, by default.
    quality: str

    def __init__(self, model: Any) -> None:
        self.model = model

    @classmethod
    @abstractmethod
    def handles(cls, model: nn.Module) -> bool:
        """Whether this class is for ``model``."""

    @property
    @abstractmethod
    def padding(self) -> tuple[int, float]:
        """The number that divides the sides of a padded batch, and the value of
        what is added at the right and the bottom."""

    @abstractmethod
    def area(self, sample: Any, inputs: Tensor) -> Area:
        """The part of the model's input that is the image and not padding.

        Args:
            sample: of the image.
            inputs: (B, C, H, W), the batch that it belongs to.
        """

    @abstractmethod
    def view(self, sample: Any, area: Area, factor: tuple[float, float],
             canvas: tuple[int, int], whole: bool) -> Any:
        """The sample, without annotations, of a picture made of an image.

        Args:
            sample: of the image.
            area: the part of it that the picture shows.
            factor: by which its height and its width were multiplied.
            canvas: height and width of the padded picture.
            whole: whether predictions are for the original image, and not for
                the area.
        """

    @abstractmethod
    def adopt(self, samples: list, predictions: list) -> list:
        """The samples with the predictions that were made for pictures of the
        whole image; the samples are changed in place."""

    @abstractmethod
    def check_merge(self) -> None:
        """Refuse a model whose predictions :meth:`merge` cannot merge.

        Raises:
            ValueError: it is such a model.
        """

    @abstractmethod
    def merge(self, sample: Any, inputs: Tensor, areas: Sequence[Area],
              parts: list) -> Any:
        """The sample with one prediction made of those for parts of the image.

        Args:
            sample: of the image; changed in place.
            inputs: (B, C, H, W), the batch that it belongs to.
            areas: of the parts.
            parts: samples that :meth:`view` made, with predictions.
        """

    def proposals(self) -> tuple[nn.Module, str] | None:
        """The head that keeps the best of many candidate boxes, and the option
        of its ``test_cfg`` that says how many; None if there is none."""
        return None

    def pad(self, images: Tensor) -> Tensor:
        """Images (B, C, h, w) padded as the data preprocessor pads."""
        divisor, value = self.padding
        height, width = images.shape[-2:]
        below = ceil(height / divisor) * divisor - height
        right = ceil(width / divisor) * divisor - width
        return F.pad(images, (0, right, 0, below), value=value)

    def resized(self, inputs: Tensor, samples: list,
                scale: float) -> tuple[Tensor, list]:
        """A batch at another size.

        Args:
            inputs: (B, C, H, W), preprocessed.
            samples: B.
            scale: factor of height and width.

        Returns:
            (B, C, h, w) and new samples without annotations; those given if
            ``scale`` is 1.
        """
        if scale == 1:
            return inputs, samples
        height, width = inputs.shape[-2:]
        size = max(1, round(height * scale)), max(1, round(width * scale))
        small = self.pad(resize(inputs, size))
        factor = size[0] / height, size[1] / width
        canvas = small.shape[-2], small.shape[-1]
        return small, [
            self.view(sample, self.area(sample, inputs), factor, canvas, True)
            for sample in samples]


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) at another size (h, w), bilinear, antialiased."""
    return F.interpolate(images, size, mode='bilinear', antialias=True)


def scaled_size(area: Area, factor: tuple[float, float]) -> tuple[int, int]:
    """Height and width of an area's picture, at least one pixel."""
    return (max(1, round(area.height * factor[0])),
            max(1, round(area.width * factor[1])))
