"""Tell whether rewards rank the subsets of levels as trainings do.

    python tools/analysis/reward_ranking.py CONFIG CHECKPOINT RESULTS.csv
        [--world NAME] [--images 400] [--efficiencies 0 0.5 1] [--mean-cost 2]
        [--out work_dirs/reward_ranking] [--method NAME|FILE]
        [--cfg-options KEY=VALUE …]

RESULTS.csv is a table of tools/compare.py or of tools/study.py with fixed
subsets; CHECKPOINT is of a run of the same pair, part of the way through. Prints,
for each reward, the rank correlation of the mean reward of the subsets over
training images with their quality. If the table has strata of images, it also
prints each stratum's share of the gain and of the budget, for a choice by image at
``--mean-cost``, and the rank correlation of the gains with the improvement over
the student alone in each stratum. The selector's own reward is among them. Writes
reward_ranking.json.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.runner import Runner
from pycocotools.coco import COCO
from rich.console import Console
from rich.table import Table
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.compose import add_method_argument, load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.recording import (
    augmented,
    record_images,
    warmed_up,
)
from mmrlkd.engine.trained import load_distiller
from mmrlkd.registry import REWARDS
from projects.experiments.results import load_table
from projects.experiments.reward_ranking import (
    Ranking,
    measured_quality,
    normalised,
    rank_subsets,
)
from projects.experiments.reward_strata import (
    StratumShare,
    cell_correlation,
    measured_gains,
    shares,
)
from projects.experiments.study_run import load_rows
from projects.scenes.difficulty import image_strata

#: Those that need no options.
REWARD_TYPES = ('ResidualReward', 'AlignmentReward', 'LookaheadReward',
                'PaperLiteralReward')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Rank correlation of rewards with measured qualities.')
    parser.add_argument('config', help='of a distillation')
    parser.add_argument('checkpoint', help='of a run of the same pair')
    parser.add_argument('results', type=Path,
                        help='table of tools/compare.py or tools/study.py')
    parser.add_argument('--world', help='of a study, which of them')
    add_method_argument(parser)
    parser.add_argument('--images', type=int, default=400,
                        help='training images to look at; default: 400')
    parser.add_argument('--efficiencies', nargs='+', type=float,
                        default=[0.0, 0.5, 1.0], metavar='λ')
    parser.add_argument('--mean-cost', type=float, default=2.0,
                        help='of a choice by image; default: 2')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path,
                        default=Path('work_dirs/reward_ranking'),
                        help='folder; default: work_dirs/reward_ranking')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    args = parser.parse_args(argv)
    if args.images < 1:
        parser.error(f'--images {args.images}: accepted is a number >= 1.')
    return args


def rewards_of(cfg: Config) -> dict[str, dict[str, Any]]:
    """Configs of the rewards to rank, by name."""
    rewards: dict[str, dict[str, Any]] = {
        name: dict(type=f'mmrlkd.{name}') for name in REWARD_TYPES}
    own = cfg.model.selector.get('reward')
    if own is not None:
        rewards["the selector's"] = own.to_dict()
    return rewards


def build(cfg: Config, checkpoint: str) -> PyramidDistiller:
    """The distiller at a checkpoint, which may be of a run with another selector
    or balancer."""
    cfg.model.balancer = None
    return load_distiller(cfg, checkpoint, get_device(), selector=False)


def record(model: PyramidDistiller, cfg: Config, images: int, seed: int
           ) -> tuple[dict[str, Tensor], list[int | None]]:
    """(N, 2^L) gains by reward, of N training images, and the ids of these images
    in the annotation file."""
    dataset = Runner.build_dataloader(cfg.train_dataloader).dataset
    ids: list[int | None] = []

    def batches() -> Iterator[Any]:
        ids.clear()
        for data in next(augmented(cfg, dataset, images, seed, 1)):
            ids.extend(sample.metainfo.get('img_id')
                       for sample in data['data_samples'])
            yield data

    gains = {}
    for name, options in rewards_of(cfg).items():
        reward = REWARDS.build(options)
        reward.bind(model.distillation.space)
        # The first pass is for the running means, the second one for the gains.
        reward = warmed_up(model, reward.to(get_device()), batches())
        gains[name] = normalised(record_images(model, reward, batches()).gains)
    return gains, ids


def strata_of(cfg: Config, ids: list[int | None]) -> dict[str, list[int]]:
    """Positions in ``ids`` by the strata that the evaluation parts images in;
    empty where it parts none."""
    evaluator, data = cfg.get('val_evaluator') or {}, cfg.train_dataloader.dataset
    keys = evaluator.get('strata') if isinstance(evaluator, dict) else None
    if not keys or 'ann_file' not in data:
        return {}
    with contextlib.redirect_stdout(None):
        coco = COCO(str(Path(data.get('data_root') or '', data.ann_file)))
    return {name: [i for i, one in enumerate(ids) if one in {*members}]
            for name, members in image_strata(coco, keys).items()}


def describe(rankings: list[Ranking], subsets: int, images: int) -> Table:
    """A row for each reward, a column for each λ."""
    efficiencies = list(dict.fromkeys(each.efficiency for each in rankings))
    table = Table('reward', *(f'λ = {value:g}' for value in efficiencies))
    for name in dict.fromkeys(each.reward for each in rankings):
        table.add_row(name, *(
            f'{each.correlation:+.2f} ({each.best})'
            for each in rankings if each.reward == name))
    table.caption = (f"Spearman's ρ over {subsets} subsets, and the subset "
                     f'liked best; {images} images')
    return table


def describe_strata(parts: list[StratumShare], mean_cost: float,
                    correlations: dict[str, tuple[float, float]]) -> Table:
    """A row for each reward: its shares by stratum, and the correlations."""
    strata = {each.stratum: each.images for each in parts}
    table = Table('reward', *(f'{name} ({share:.0%})'
                              for name, share in strata.items()),
                  'ρ of cells', 'ρ of strata')
    for reward in dict.fromkeys(each.reward for each in parts):
        table.add_row(
            reward, *(f'{each.gain:.0%} / {each.cost:.0%}'
                      for each in parts if each.reward == reward),
            *(f'{each:+.2f}' for each in correlations[reward]))
    table.caption = (
        'Share of the gain / of the budget that goes to a stratum, at a mean '
        f'cost of {mean_cost:g}. ρ with what training adds to the student alone: '
        'over (subset, stratum), and over strata, mean over subsets')
    return table


def read_results(path: Path, world: str | None) -> pd.DataFrame:
    """The rows of a comparison, or of a world of a study.

    Raises:
        ValueError: the file is neither, or has no such world.
    """
    if not path.is_file():
        raise ValueError('it is not a file; accepted: a table of '
                         'tools/compare.py or tools/study.py.')
    rows = load_rows(path)
    if 'world' not in rows:
        return load_table(path)
    rows = rows[rows.version == rows.version.max()]
    if world not in {*rows.world}:
        raise ValueError(f'--world {world}; accepted: '
                         f'{", ".join(sorted({*rows.world}))}.')
    return rows[rows.world == world]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, str(args.results)):
        table = read_results(args.results, args.world)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = load_config(args.config, args.method, args.cfg_options)
        model = build(cfg, args.checkpoint)
    space = model.distillation.space
    with errors_as_sentences(CONFIG_ERRORS, str(args.results)):
        quality = measured_quality(table, space.names)
    gains, ids = record(model, cfg, args.images, args.seed)
    rankings = rank_subsets(gains, space, quality, args.efficiencies)
    console = Console(width=120 if not sys.stdout.isatty() else None)
    console.print(describe(rankings, len(quality), len(ids)))
    strata = strata_of(cfg, ids)
    measured = measured_gains(table, space.names)
    parts = shares(gains, strata, space, args.mean_cost)
    correlations = {name: cell_correlation(each, strata, measured)
                    for name, each in gains.items()}
    if parts:
        console.print(describe_strata(parts, args.mean_cost, correlations))
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / 'reward_ranking.json'
    file.write_text(json.dumps(dict(
        images=len(ids), rankings=[asdict(each) for each in rankings],
        shares=[asdict(each) for each in parts], cells={
            name: dict(zip(('cells', 'strata'), each, strict=True))
            for name, each in correlations.items()}), indent=1))
    print(f'{file} is written.')


if __name__ == '__main__':
    main()
