"""Which levels a trained selector gives to the images of a dataset."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from mmrlkd.distillers import PyramidDistiller


@dataclass(frozen=True)
class ImageSelection:
    """What one image got.

    Attributes:
        img_id: id of the image in its annotation file.
        path: of the image.
        levels: names of the selected levels, finest first.
    """
    img_id: int
    path: str
    levels: tuple[str, ...]


@torch.no_grad()
def select_images(model: PyramidDistiller,
                  batches: Iterable[Any]) -> list[ImageSelection]:
    """Choose the levels of every image, as in evaluation: nothing is sampled.

    Args:
        model: a distiller with its trained selector.
        batches: from a data loader of its library.
    """
    model.eval()
    names = [level.name for level in model.levels]
    chosen = []
    for batch in batches:
        data = model.data_preprocessor(batch, False)
        levels = model.choose(data['inputs']).levels.tolist()
        for sample, row in zip(data['data_samples'], levels, strict=True):
            chosen.append(ImageSelection(
                sample.img_id, sample.img_path,
                tuple(n for n, held in zip(names, row, strict=True) if held)))
    return chosen


def selection_rates(selections: Iterable[ImageSelection],
                    strata: dict[str, list[int]],
                    names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Share of images that got each level, by stratum and for ``'all'``.

    Args:
        selections: of all images.
        strata: image ids of each stratum.
        names: level names.
    """
    by_id = {selection.img_id: selection.levels for selection in selections}
    groups = {'all': list(by_id), **strata}
    return {
        stratum: {
            name: sum(name in by_id[i] for i in ids) / len(ids)
            for name in names
        }
        for stratum, ids in groups.items()
    }
