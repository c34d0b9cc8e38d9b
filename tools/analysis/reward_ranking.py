"""Tell whether rewards rank the subsets of levels as trainings do.

    python tools/analysis/reward_ranking.py CONFIG CHECKPOINT RESULTS.csv
        [--world NAME] [--images 400] [--efficiencies 0 0.5 1] [--mean-cost 2]
        [--out work_dirs/reward_ranking] [--method NAME|FILE]
        [--cfg-options KEY=VALUE …]

RESULTS.csv is a table of tools/compare.py or of tools/study.py with fixed
subsets; CHECKPOINT is of a run of the same pair, part of the way through. For
each reward, the rank correlation of its mean over training images, λ · cost taken
off, with the quality of the subsets. Where the table has strata of images: what
each reward gives to each stratum, in parts of the gain and of the budget of a
choice by image at ``--mean-cost``, and the rank correlation with what training
adds to the student alone in it. The selector's own reward is among them. Writes
reward_ranking.json.
"""

import argparse
import contextlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.runner import Runner, set_random_seed
from pycocotools.coco import COCO
from rich.console import Console
from rich.table import Table
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.compose import add_method_argument, load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.student import is_distiller
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.distillation.selection.rewards import Reward
from mmrlkd.distillation.selection.selectors import UniformSelector
from mmrlkd.distillation.step import distil, unchanged
from mmrlkd.engine.trained import load_distiller
from mmrlkd.registry import REWARDS
from mmrlkd.structures import Choice, LevelSpace, Signals
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
from projects.experiments.study import load_rows
from projects.scenes.difficulty import image_strata

#: Those that need no options.
REWARD_TYPES = ('ResidualReward', 'AlignmentReward', 'LookaheadReward',
                'PaperLiteralReward')


class Recorder(UniformSelector):
    """Keeps what rewards say of each batch.

    Args:
        rewards: configs of rewards, by name.
    """

    learns = True

    def __init__(self, rewards: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        # In a plain dict, which is no module: the units move while the model
        # is left as it was.
        self.rewards: dict[str, Reward] = {
            name: REWARDS.build(each) for name, each in rewards.items()}
        self.updating = True
        self.gains: dict[str, list[Tensor]] = {name: [] for name in rewards}

    def bind(self, space: LevelSpace) -> None:
        super().bind(replace(space, budget=sum(space.costs)))
        for reward in self.rewards.values():
            reward.bind(space)

    @property
    def needs_gradients(self) -> bool:
        return any(reward.needs_gradients for reward in self.rewards.values())

    @property
    def descriptors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(
            name for reward in self.rewards.values() for name in reward.descriptors))

    def select(self, process: DecisionProcess) -> Choice:
        for reward in self.rewards.values():
            reward.to(process.device)
        return super().select(process)

    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        for name, reward in self.rewards.items():
            gains = reward.gains(signals, update=self.updating)
            if not self.updating:
                self.gains[name].append(gains.cpu())
        return {}


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
                        default=ROOT / 'work_dirs/reward_ranking',
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
    """The distiller at a checkpoint, with a :class:`Recorder`."""
    if not is_distiller(cfg):
        raise ValueError(
            f"model.type is {cfg.model.get('type')!r}, which distils "
            "nothing; accepted: 'mmrlkd.PyramidDistiller'.")
    # What the checkpoint's run was balanced and chosen by is another matter.
    cfg.model.balancer = None
    cfg.model.selector = dict(type=Recorder, rewards=rewards_of(cfg))
    return load_distiller(cfg, checkpoint, get_device(), selector=False)


def record(model: PyramidDistiller, cfg: Config, images: int, seed: int
           ) -> tuple[dict[str, Tensor], list[int | None]]:
    """(N, 2^L) gains by reward, of N or some more training images, and what the
    annotation file calls these images."""
    recorder = model.selector
    assert isinstance(recorder, Recorder)
    model.train()
    plan = replace(model.schedule.plan(), update_student=False, learn=True)
    for recorder.updating in True, False:  # the units, then the gains
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
        ids: list[int | None] = []
        set_random_seed(seed)
        for data in loader:
            with unchanged(model):
                batch = model.data_preprocessor(data, True)
                distil(model, plan, batch['inputs'], batch['data_samples'],
                       None)
            ids += [sample.metainfo.get('img_id')
                    for sample in batch['data_samples']]
            if len(ids) >= images:
                break
    return {name: normalised(torch.cat(each))
            for name, each in recorder.gains.items()}, ids


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
