"""Tell whether rewards rank the subsets of levels as trainings do.

    python tools/analysis/reward_ranking.py CONFIG CHECKPOINT RESULTS.csv
        [--images 400] [--efficiencies 0 0.5 1] [--out work_dirs/reward_ranking]
        [--method NAME|FILE] [--cfg-options KEY=VALUE …]

RESULTS.csv is a table of tools/compare.py with fixed subsets; CHECKPOINT is of
a run of the same pair, part of the way through. Prints, for each reward, the rank
correlation of the mean reward of the subsets over training images with their
quality. The selector's own reward is among them. Writes reward_ranking.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.compose import add_method_argument, load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.student import check_distils, model_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.recording import (
    augmented,
    record_images,
    warmed_up,
)
from mmrlkd.engine.run_state_hook import read_run_state
from mmrlkd.files import load_file
from mmrlkd.registry import MODELS, REWARDS
from projects.experiments.results import load_table
from projects.experiments.reward_ranking import (
    Ranking,
    measured_quality,
    normalised,
    rank_subsets,
)

#: Those that need no options.
REWARD_TYPES = ('ResidualReward', 'AlignmentReward', 'LookaheadReward',
                'PaperLiteralReward')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Rank correlation of rewards with measured qualities.')
    parser.add_argument('config', help='of a distillation')
    parser.add_argument('checkpoint', help='of a run of the same pair')
    parser.add_argument('results', type=Path, help='results.csv')
    add_method_argument(parser)
    parser.add_argument('--images', type=int, default=400,
                        help='training images to look at; default: 400')
    parser.add_argument('--efficiencies', nargs='+', type=float,
                        default=[0.0, 0.5, 1.0], metavar='λ')
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
    """The distiller at a checkpoint. Student and connectors are loaded; the
    checkpoint may be of a run with another selector."""
    check_distils(cfg)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model: PyramidDistiller = MODELS.build(dict(
        model_config(cfg), balancer=None))
    content = load_file(checkpoint)
    model.load_state_dict(content['state_dict'])
    state = read_run_state(checkpoint, content)['distiller']
    model.distillation.links.load_state_dict(state['links'])
    return model.to(get_device())


def record(model: PyramidDistiller, cfg: Config, images: int,
           seed: int) -> dict[str, Tensor]:
    """(N, 2^L) gains by reward, of N training images."""
    dataset = Runner.build_dataloader(cfg.train_dataloader).dataset

    def batches() -> Iterator[Any]:
        return next(augmented(cfg, dataset, images, seed, 1))

    gains = {}
    for name, options in rewards_of(cfg).items():
        reward = REWARDS.build(options)
        reward.bind(model.distillation.space)
        # The first pass is for the running means, whose unit the gains have.
        reward = warmed_up(model, reward.to(get_device()), batches())
        gains[name] = normalised(record_images(model, reward, batches()).gains)
    return gains


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


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, str(args.results)):
        if not args.results.is_file():
            raise ValueError('it is not a file; accepted: a results.csv of '
                             'tools/compare.py.')
        table = load_table(args.results)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = load_config(args.config, args.method, args.cfg_options)
        model = build(cfg, args.checkpoint)
    space = model.distillation.space
    with errors_as_sentences(CONFIG_ERRORS, str(args.results)):
        quality = measured_quality(table, space.names)
    gains = record(model, cfg, args.images, args.seed)
    images = len(next(iter(gains.values())))
    rankings = rank_subsets(gains, space, quality, args.efficiencies)
    Console().print(describe(rankings, len(quality), images))
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / 'reward_ranking.json'
    file.write_text(json.dumps(dict(
        images=images, rankings=[asdict(each) for each in rankings]), indent=1))
    print(f'{file} is written.')


if __name__ == '__main__':
    main()
