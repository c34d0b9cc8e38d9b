"""Into how many tiles the image is cut."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import ceil, isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrlkd.arguments import check_bool, check_integer, check_number, refuse
from mmrlkd.dynamic.libraries import Area, Library, find_library
from mmrlkd.dynamic.libraries.base import resize, scaled_size
from mmrlkd.dynamic.patching import Patches
from mmrlkd.registry import KNOBS

from .base import Knob, check_ascending


@KNOBS.register_module()
class Tiles(Knob):
    """Runs the model on tiles of the image, and merges their predictions.

    n tiles form a grid of √n rows and columns. Enlarged to the size of the
    image they show its small objects at a size that the model knows (Akyon et
    al. 2022, "Slicing aided hyper inference", SAHI), at n times the cost. All
    tiles run as one batch. Boxes are merged by the NMS of the detector's own
    ``test_cfg``, logits of label maps are averaged where tiles overlap, logits
    of a classifier are averaged.

    The full setting is the whole image, ``1``: it is the cheapest, not the last.
    Changes the input of the model's ``predict`` and the samples' meta data, as
    :class:`.InputScale` does, which acts on each tile. Fits detectors that put
    out boxes and no masks, encoder-decoders, and classifiers with one label.

    Args:
        counts: of tiles, squares, ascending, 1 first.
        overlap: of neighbouring tiles, as a share of a tile's side.
        enlarge: resize tiles to the size of the image. Without, tiles that do
            not overlap cover the image once, pixel by pixel; a model whose
            outputs depend on nothing beyond a tile then predicts the same as on
            the whole image.
        whole: run the whole image as well, which is where objects larger than
            a tile are seen.
    """

    name = 'tiles'
    outermost = True
    values: tuple[int, ...]

    def __init__(self, counts: Sequence[int] = (1, 4), overlap: float = 0.2,
                 enlarge: bool = True, whole: bool = True) -> None:
        owner = type(self).__name__
        for i, count in enumerate(counts):
            check_integer(owner, f'counts[{i}]', count, 1)
            if isqrt(count)**2 != count:
                refuse(owner, f'counts[{i}]', count, 'a square: 1, 4, 9, …')
        self.values = tuple(counts)
        check_ascending(owner, 'counts', self.values)
        if self.values[0] != 1:
            refuse(owner, 'counts', counts, 'numbers with 1 first, which is the '
                   'whole image')
        self.full = 0
        self.overlap = check_number(owner, 'overlap', overlap, 0, 1, open='high')
        self.enlarge = check_bool(owner, 'enlarge', enlarge)
        self.whole = check_bool(owner, 'whole', whole)

    def bind(self, model: nn.Module) -> None:
        self.library = find_library(model)
        self.library.check_merge()

    def input_scale(self, choice: int) -> float | None:
        return 1.0 if choice == self.full else None

    def set(self, choice: int) -> AbstractContextManager[None]:
        if choice == self.full:
            return nullcontext()
        model = self.library.model
        return Patches([(model, 'predict', _Tiled(
            self, self.library, model.predict, isqrt(self.values[choice])))])


class _Tiled:
    """``predict`` of a model on tiles.

    Args:
        knob: with the options.
        library: of the model.
        predict: that of the model.
        side: number of tiles in a row and in a column.
    """

    def __init__(self, knob: Tiles, library: Library, predict: Any,
                 side: int) -> None:
        self.knob, self.library = knob, library
        self.predict, self.side = predict, side

    def __call__(self, inputs: Tensor, data_samples: list) -> list:
        """As the model's own: (B, C, H, W) and B samples, which get the
        predictions."""
        if any(sample.get('flip') for sample in data_samples):
            raise ValueError(
                'A flipped image is not cut into tiles; accepted: tests without '
                'test-time augmentation.')
        wholes = [self.library.area(each, inputs) for each in data_samples]
        areas = [tile_areas(whole, self.side, self.knob.overlap)
                 for whole in wholes]
        factors = [(whole.height / tiles[0].height, whole.width / tiles[0].width)
                   if self.knob.enlarge else (1.0, 1.0)
                   for whole, tiles in zip(wholes, areas)]
        batch = self._batch([
            self._pictures(*each) for each in zip(inputs, areas, factors)])
        found = self.predict(batch, [
            self._view(sample, area, batch, factor)
            for sample, tiles, factor in zip(data_samples, areas, factors)
            for area in tiles])
        count = self.side**2
        parts = [found[i:i + count] for i in range(0, len(found), count)]
        if self.knob.whole:
            areas = [[*tiles, whole] for tiles, whole in zip(areas, wholes)]
            found = self.predict(inputs, [
                self._view(sample, whole, inputs)
                for sample, whole in zip(data_samples, wholes)])
            parts = [[*of_image, part] for of_image, part in zip(parts, found)]
        return [self.library.merge(sample, inputs, *each)
                for sample, *each in zip(data_samples, areas, parts)]

    def _view(self, sample: Any, area: Area, batch: Tensor,
              factor: tuple[float, float] = (1.0, 1.0)) -> Any:
        canvas = batch.shape[-2], batch.shape[-1]
        return self.library.view(sample, area, factor, canvas, whole=False)

    def _pictures(self, image: Tensor, tiles: list[Area],
                  factor: tuple[float, float]) -> Tensor:
        """(n, C, h, w): the tiles of an image (C, H, W)."""
        crops = torch.stack([
            image[:, area.top:area.top + area.height,
                  area.left:area.left + area.width] for area in tiles])
        if self.knob.enlarge:
            crops = resize(crops, scaled_size(tiles[0], factor))
        return crops

    def _batch(self, pictures: list[Tensor]) -> Tensor:
        """Tiles (n, C, h, w) of several images as one batch, padded."""
        height = max(each.shape[-2] for each in pictures)
        width = max(each.shape[-1] for each in pictures)
        value = self.library.padding[1]
        return self.library.pad(torch.cat([
            F.pad(each, (0, width - each.shape[-1], 0, height - each.shape[-2]),
                  value=value) for each in pictures]))


def tile_areas(whole: Area, side: int, overlap: float) -> list[Area]:
    """The tiles of an image, row by row.

    All are of one size, and together they cover the image; neighbours share
    ``overlap`` of their side, a little more where the sides do not divide.

    Args:
        whole: the image.
        side: number of tiles in a row and in a column.
        overlap: in [0, 1).
    """
    height, tops = _intervals(whole.height, side, overlap)
    width, lefts = _intervals(whole.width, side, overlap)
    return [Area(whole.top + top, whole.left + left, height, width)
            for top in tops for left in lefts]


def _intervals(length: int, number: int,
               overlap: float) -> tuple[int, list[int]]:
    """Size and starts of intervals of equal size that cover a length."""
    size = min(length, ceil(length / (number - (number - 1) * overlap)))
    starts = [round(i * (length - size) / (number - 1)) for i in range(number)]
    return size, starts
