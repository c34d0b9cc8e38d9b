"""Say how much a choice of levels for each image could win, before training.

    python tools/analysis/headroom.py CONFIG [CHECKPOINT …] [--images 400]
        [--train 200] [--moments 2] [--costs C …] [--out work_dirs/headroom]
        [--method NAME|FILE] [--cfg-options KEY=VALUE …]

Each CHECKPOINT of a run of CONFIG is a moment. Without one, the student learns
from all levels for some iterations at the config's first learning rate, and is
recorded in between. The reward is the selector's. Writes headroom.json,
headroom.md and headroom.png.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.markdown import Markdown

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import add_method_argument, load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.student import model_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.recording import (
    augmented,
    reward_of,
    seed_all,
    train_all_levels,
)
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.trained import load_distiller
from mmrlkd.registry import MODELS
from projects.experiments.figures import headroom as figure
from projects.experiments.headroom import (
    Headroom,
    Moment,
    analyse,
    mean_costs,
    record_moment,
)

#: Augmentations of each image: the second says how reliable the first is.
AUGMENTATIONS = 2
#: Batches for the running means of rewards.
WARM_UP = 20


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='How much a choice of levels for each image could win, '
        'before training.')
    parser.add_argument('config', help='config of a selector with a reward')
    parser.add_argument('checkpoints', nargs='*', metavar='CHECKPOINT',
                        help='of runs of the config; each is a moment')
    add_method_argument(parser)
    parser.add_argument('--images', type=int, default=400,
                        help='training images to record; default: 400')
    parser.add_argument(
        '--train', type=int, default=200, metavar='ITERATIONS',
        help='without CHECKPOINT: learn from all levels so long; default: 200')
    parser.add_argument(
        '--moments', type=int, default=2,
        help='without CHECKPOINT: record so often; default: 2')
    parser.add_argument(
        '--costs', nargs='+', type=float, metavar='C',
        help='mean costs to compare at; default: eighths of all levels\' cost')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path,
                        default=Path('work_dirs/headroom'),
                        help='folder; default: work_dirs/headroom')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    args = parser.parse_args(argv)
    for name, low in (('images', 20), ('train', 1), ('moments', 1)):
        if getattr(args, name) < low:
            parser.error(f'--{name} {getattr(args, name)}: accepted is a '
                         f'number >= {low}.')
    return args


def check(args: argparse.Namespace, model: PyramidDistiller) -> None:
    """Refuse what cannot be compared, before anything is trained.

    Raises:
        ValueError: the selector has no reward, or no choice has such a cost.
    """
    reward_of(model)
    mean_costs(model.distillation.space, args.costs)


def record_now(args: argparse.Namespace, cfg: Config, model: PyramidDistiller,
               dataset: Any, name: str) -> Moment:
    """A moment of a model, as it is."""
    return record_moment(
        model, reward_of(model), name,
        islice(next(augmented(cfg, dataset, args.images, args.seed, 1)), WARM_UP),
        augmented(cfg, dataset, args.images, args.seed, AUGMENTATIONS))


def record_training(args: argparse.Namespace, cfg: Config) -> Iterator[
        tuple[PyramidDistiller, Moment]]:
    """Moments of a short training."""
    seed_all(args.seed)
    model = MODELS.build(model_config(cfg))
    check(args, model)
    model.init_weights()
    model.to(get_device())
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)

    def forever() -> Iterator[Any]:
        while True:
            yield from loader

    batches, done = forever(), 0
    for i in range(args.moments):
        until = args.train * (i + 1) // args.moments
        train_all_levels(model, islice(batches, until - done), optim_wrapper)
        done = until
        yield model, record_now(
            args, cfg, model, loader.dataset, f'iteration {done}')


def record_checkpoints(args: argparse.Namespace, cfg: Config) -> Iterator[
        tuple[PyramidDistiller, Moment]]:
    """A moment for each checkpoint."""
    dataset = Runner.build_dataloader(cfg.train_dataloader).dataset
    for path in args.checkpoints:
        model = load_distiller(cfg, path, get_device())
        check(args, model)
        yield model, record_now(args, cfg, model, dataset, Path(path).stem)


def to_markdown(found: Headroom) -> str:
    """The tables of the page."""
    lines = [
        f'# Headroom of {found.images} images', '',
        '![gain over mean cost](headroom.png)', '',
        '| mean cost | random | best fixed | | best lottery | told by the '
        'state | by another augmentation | optimum | told − lottery | worth '
        'trying |', '|' + '---|' * 10]
    for row in found.rows:
        numbers = [f'{value:.3f}' for value in (
            row.random, row.fixed)], [f'{value:.3f}' for value in (
                row.mixture, row.told, row.repeated, row.optimum)]
        lines.append('| ' + ' | '.join([
            f'{row.cost:g}', *numbers[0], '+'.join(row.subset) or 'none',
            *numbers[1], f'{row.above:+.3f} ± {row.half_width:.3f}',
            'yes' if row.worth else '']) + ' |')
    lines += ['', '| level | reliability | explained by the state |',
              '|---|---|---|']
    lines += [f'| {name} | {found.reliability[name]:.2f} | '
              f'{found.explained[name]:.2f} |' for name in found.reliability]
    lines += ['', '| moment | gain that is 1 |', '|---|---|']
    lines += [f'| {name} | {unit:.3g} |' for name, unit in found.unit.items()]
    return '\n'.join(lines) + '\n'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = load_config(args.config, args.method, args.cfg_options)
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        record = record_checkpoints if args.checkpoints else record_training
        models, moments = zip(*record(args, cfg), strict=True)
        found = analyse(moments, models[-1].distillation.space, args.costs,
                        args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [asdict(row) | {'worth': row.worth} for row in found.rows]
    write_atomically(args.out / 'headroom.json', (json.dumps(
        asdict(found) | {'rows': rows}, indent=1) + '\n').encode())
    page = to_markdown(found)
    write_atomically(args.out / 'headroom.md', page.encode())
    figure.save(found, args.out / 'headroom.png')
    Console().print(Markdown(page))
    print(f"{args.out / 'headroom.md'} is written.")


if __name__ == '__main__':
    main()
