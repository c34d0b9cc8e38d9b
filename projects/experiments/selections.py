"""Which levels a trained selector gives to the images of a data set."""

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from mmdet.datasets.api_wrappers import COCO
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.runner import Runner

from mmrlkd.distillation import PyramidDistiller
from projects.scenes.difficulty import image_strata

from .tasks import evaluators

#: Keys of image records that tell strata, where the evaluator names none.
STRATA_KEYS = ('difficulty', 'dense_small')
ALL = 'all'


@dataclass(frozen=True)
class Selections:
    """What a trained selector does on the validation images.

    Attributes:
        levels: names there are to choose from, finest first.
        adaptive: whether the choice may depend on the image.
        trunk_gflops: counted, of what the teacher runs for every image, at
            :attr:`probe_size`.
        probe_size: height and width that GFLOPs are counted for, in pixels.
        images: a row for each image of the data set, in its order: ``img_id``
            (not unique where annotation files are concatenated), ``path``,
            ``levels`` (names, joined by spaces), ``strata`` (likewise) and
            ``boxes`` (of its objects, ``[x, y, width, height]`` in pixels).
    """
    levels: tuple[str, ...]
    adaptive: bool
    trunk_gflops: float
    probe_size: int
    images: pd.DataFrame

    def rates(self) -> pd.DataFrame:
        """Share of the images that get each level: a row for each stratum,
        ``'all'`` first, a column for each level."""
        chosen = pd.DataFrame({
            level: [level in names.split() for names in self.images.levels]
            for level in self.levels})
        strata = [names.split() for names in self.images.strata]
        rows = {ALL: chosen.mean()}
        for name in sorted({name for names in strata for name in names}):
            rows[name] = chosen[[name in names for names in strata]].mean()
        return pd.DataFrame(rows).T

    def columns(self) -> dict[str, Any]:
        """Of the results table."""
        return dict(
            adaptive=self.adaptive, trunk_gflops=self.trunk_gflops,
            probe_size=self.probe_size,
            distinct_subsets=self.images.levels.nunique(),
            **{f'select/{stratum}/{level}': rate
               for stratum, row in self.rates().iterrows()
               for level, rate in row.items()})

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(dict(
            levels=self.levels, adaptive=self.adaptive,
            trunk_gflops=self.trunk_gflops, probe_size=self.probe_size,
            images=self.images.to_dict('records')), indent=0) + '\n'

    @staticmethod
    def loads(text: str) -> 'Selections':
        """Take back :meth:`dumps`."""
        plain = json.loads(text)
        return Selections(**plain | dict(
            levels=tuple(plain['levels']), images=pd.DataFrame(plain['images'])))


@torch.no_grad()
def select(model: PyramidDistiller, cfg: Config) -> Selections:
    """Let a trained selector choose for every validation image, as in
    evaluation: nothing is sampled.

    Args:
        model: see :func:`mmrlkd.engine.trained.load_distiller`.
        cfg: its config; where ``val_dataloader`` reads COCO annotation files,
            these tell the strata.

    Raises:
        ValueError: the config has no validation images.
    """
    if not cfg.get('val_dataloader'):
        raise ValueError(
            'val_dataloader is not set; accepted: the images to choose for.')
    # In the order of the data set, whatever the config's sampler does.
    loader = Runner.build_dataloader(dict(
        cfg.val_dataloader, sampler=dict(type='DefaultSampler', shuffle=False)))
    model.eval()
    names = [level.name for level in model.levels]
    chosen: list[dict[str, Any]] = []
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        samples = data['data_samples']
        levels = model.choose(data['inputs'], samples).levels.tolist()
        chosen += [
            dict(img_id=sample.get('img_id', len(chosen) + i),
                 path=sample.img_path, levels=' '.join(
                     name for name, held in zip(names, row) if held))
            for i, (sample, row) in enumerate(zip(samples, levels, strict=True))]
    known = _annotated(loader.dataset, strata_keys(cfg))
    return Selections(
        levels=tuple(names),
        adaptive=model.selector.adaptive,
        trunk_gflops=model.distillation.flops.trunk / 1e9,
        probe_size=model.adapter.probe.size,
        images=pd.DataFrame([
            image | facts for image, facts in zip(chosen, known, strict=True)]))


def strata_keys(cfg: Config) -> tuple[str, ...]:
    """What a config's evaluators group images by."""
    named = [e['strata'] for e in evaluators(cfg) if 'strata' in e]
    return tuple(named[0] if named else STRATA_KEYS)


def _annotated(dataset: Any, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Strata and boxes of each image of a data set, in its order.

    Image ids are those of one annotation file: a data set made of several is
    looked up part by part.
    """
    if isinstance(dataset, ConcatDataset):
        return [facts for part in dataset.datasets
                for facts in _annotated(part, keys)]
    if isinstance(dataset, RepeatDataset):
        return _annotated(dataset.dataset, keys) * dataset.times
    file = str(getattr(dataset, 'ann_file', ''))
    if not file.endswith('.json'):
        return [dict(strata='', boxes=[])] * len(dataset)
    assert isinstance(dataset, BaseDataset)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(file)
    strata: dict[int, list[str]] = {}
    for name, ids in image_strata(coco, keys).items():
        for image_id in ids:
            strata.setdefault(image_id, []).append(name)
    found = []
    for i in range(len(dataset)):
        image_id = dataset.get_data_info(i).get('img_id')
        found.append(dict(
            strata=' '.join(strata.get(image_id, [])),
            boxes=[a['bbox'] for a in coco.imgToAnns.get(image_id, [])
                   if not a.get('iscrowd')]))
    return found


def pick_examples(images: pd.DataFrame, per_stratum: int = 2) -> pd.DataFrame:
    """Images to show, by what they show: within each stratum those whose
    choice was not shown yet come first, then in the order of the data set.

    An image of two strata stands for the first of them.

    Args:
        images: of :class:`Selections`.
        per_stratum: how many.

    Returns:
        Their rows, with a column ``stratum``.
    """
    table = images.assign(stratum=[
        (names.split() or [''])[0] for names in images.strata])
    table = table[table.stratum != '']
    shown: set[str] = set()
    picked = []
    for _, some in table.groupby('stratum', sort=True):
        for _ in range(min(per_stratum, len(some))):
            fresh = some[~some.levels.isin(shown)]
            # All were shown elsewhere: what this stratum did not show yet.
            here = some[~some.levels.isin(
                {row.levels for row in picked if row.stratum == some.stratum.iloc[0]})]
            row = next(part for part in (fresh, here, some) if len(part)).iloc[0]
            shown.add(row.levels)
            picked.append(row)
            some = some.drop(row.name)
    return pd.DataFrame(picked)
