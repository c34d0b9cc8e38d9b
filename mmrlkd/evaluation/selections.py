"""Which levels a trained selector gives to the images of a dataset."""

import contextlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmdet.datasets.api_wrappers import COCO
from mmengine.config import Config
from mmengine.runner import Runner

from mmrlkd.distillation import PyramidDistiller

from .difficulty_metric import image_strata
from .results import Example

#: Keys of image records that tell strata, where the evaluator names none.
STRATA_KEYS = ('difficulty', 'dense_small')


@dataclass(frozen=True)
class ImageSelection:
    """What one image got.

    Attributes:
        img_id: id of the image in its annotation file; without one, its
            place in the dataset.
        path: of the image.
        levels: names of the selected levels, finest first.
    """
    img_id: int
    path: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class SelectionReport:
    """What a trained selector does on the validation images.

    Attributes:
        levels: names there are to choose from, finest first.
        adaptive: whether the choice depends on the image.
        trunk_gflops: counted, of what the teacher runs for every image,
            at :attr:`probe_size`.
        probe_size: height and width that GFLOPs are counted for, in pixels.
        rates: share of images that get each level, see
            :func:`selection_rates`.
        images: what each image got.
    """
    levels: tuple[str, ...]
    adaptive: bool
    trunk_gflops: float
    probe_size: int
    rates: dict[str, dict[str, float]]
    images: list[ImageSelection]

    def dumps(self) -> str:
        """As JSON, an image a line."""
        plain = asdict(self)
        images = ',\n'.join(json.dumps(i) for i in plain.pop('images'))
        return f'{json.dumps(plain)[:-1]}, "images": [\n{images}\n]}}\n'

    @staticmethod
    def loads(text: str) -> 'SelectionReport':
        """Take back :meth:`dumps`."""
        plain = json.loads(text)
        plain['levels'] = tuple(plain['levels'])
        plain['images'] = [
            ImageSelection(i['img_id'], i['path'], tuple(i['levels']))
            for i in plain['images']
        ]
        return SelectionReport(**plain)


def report_selections(model: PyramidDistiller,
                      cfg: Config) -> SelectionReport:
    """Let a trained selector choose for every validation image.

    Args:
        model: see :func:`mmrlkd.engine.trained.load_distiller`.
        cfg: its config; where ``val_dataloader`` reads a COCO annotation
            file, that tells the strata.
    """
    chosen = select_images(model, Runner.build_dataloader(cfg.val_dataloader))
    names = tuple(level.name for level in model.levels)
    annotations = read_annotations(cfg)
    strata = {} if annotations is None else image_strata(
        annotations, strata_keys(cfg))
    return SelectionReport(
        levels=names,
        adaptive=model.selector.adaptive,
        trunk_gflops=model.distillation.flops.trunk / 1e9,
        probe_size=model.distillation.teacher.adapter.probe.size,
        rates=selection_rates(chosen, strata, names),
        images=chosen)


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
    chosen: list[ImageSelection] = []
    for batch in batches:
        data = model.data_preprocessor(batch, False)
        samples = data['data_samples']
        levels = model.choose(data['inputs'], samples).levels.tolist()
        for sample, row in zip(samples, levels, strict=True):
            chosen.append(ImageSelection(
                sample.get('img_id', len(chosen)), sample.img_path,
                tuple(n for n, held in zip(names, row, strict=True) if held)))
    return chosen


def selection_rates(selections: Iterable[ImageSelection],
                    strata: Mapping[str, Sequence[int]],
                    names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Share of images that got each level, by stratum and for ``'all'``.

    Args:
        selections: of all images.
        strata: image ids of each stratum; one of which no image was selected
            for is left out.
        names: level names.
    """
    by_id = {selection.img_id: selection.levels for selection in selections}
    rates = {}
    for stratum, ids in {'all': list(by_id), **strata}.items():
        some = [by_id[i] for i in ids if i in by_id]
        if some:
            rates[stratum] = {
                name: sum(name in levels for levels in some) / len(some)
                for name in names
            }
    return rates


def pick_examples(reports: Mapping[str, SelectionReport], coco: COCO | None,
                  keys: Sequence[str], per_stratum: int = 2) -> list[Example]:
    """The first images of each stratum, not the prettiest.

    An image of two strata stands for the first of them.

    Args:
        reports: of each method, on the same images.
        coco: annotations of the images; without them there is no stratum.
        keys: see :func:`.difficulty_metric.image_strata`.
        per_stratum: how many.
    """
    chosen = {
        method: {image.img_id: image for image in report.images}
        for method, report in reports.items()
    }
    if not chosen or coco is None:
        return []
    some = next(iter(chosen.values()))
    taken: set[int] = set()
    examples = []
    for stratum, ids in image_strata(coco, keys).items():
        free = [i for i in ids if i in some and i not in taken]
        for image_id in free[:per_stratum]:
            taken.add(image_id)
            examples.append(Example(
                path=some[image_id].path,
                stratum=stratum,
                boxes=[a['bbox'] for a in coco.imgToAnns[image_id]
                       if not a.get('iscrowd')],
                levels={method: list(images[image_id].levels)
                        for method, images in chosen.items()}))
    return examples


def read_annotations(cfg: Config) -> COCO | None:
    """The annotation file of a config's validation images; None where they
    are in folders of classes."""
    dataset = cfg.val_dataloader.dataset
    if not str(dataset.get('ann_file', '')).endswith('.json'):
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(Path(dataset.get('data_root') or '',
                             dataset.ann_file)))


def strata_keys(cfg: Config) -> tuple[str, ...]:
    """What a config's evaluator groups images by."""
    return tuple(cfg.val_evaluator.get('strata', STRATA_KEYS))
