"""Measure every setting of a model on every image of a calibration set.

    python tools/budget/profile.py CONFIG CHECKPOINT [--out FILE.parquet]
        [--images 200] [--repeats 5] [--split val] [--device cpu] [--threads N]
        [--seed 0] [--cfg-options KEY=VALUE …]

The config's ``budget`` names the knobs, see docs/latency_budget.md; of a pair, the
student is measured. Latency is measured on the machine at hand, one image at a
time, and is the median of the repeats. Measurements are kept in FILE.parquet.parts:
killed at any moment, the same command continues, and more images can be added
later.
"""

import sys
from pathlib import Path

# Python puts this folder first on the path, where profile.py would hide the
# module of that name in the standard library, which torch imports.
sys.path[:] = [each for each in sys.path
               if Path(each).resolve() != Path(__file__).resolve().parent]

import argparse
import time
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.student import model_config, student_config
from mmrlkd.dynamic.machine import describe_machine
from mmrlkd.dynamic.measured import MeasuredImages
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.dynamic.profiling import Profiler
from mmrlkd.dynamic.table import write_table
from mmrlkd.engine.trained import fill
from mmrlkd.files import digest, load_file
from mmrlkd.registry import MODELS

# Configs of this checkout import projects.scenes.
sys.path.append(str(Path(__file__).resolve().parents[2]))

#: What of a config's ``budget`` a measurement depends on.
MEASURED = ('knobs', 'feature', 'quality')
#: Seconds between lines about the progress, where there is no terminal.
SPEAK = 30


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure every setting of a model on every image of a '
        'calibration set.')
    parser.add_argument('config', help='config with a budget')
    parser.add_argument('checkpoint', help='weights of its model')
    parser.add_argument(
        '--out', type=Path, help='the table; default: '
        'work_dirs/budget/CONFIG_CHECKPOINT.parquet')
    parser.add_argument('--images', type=int, default=200,
                        help='number of images, drawn at random; default: 200')
    parser.add_argument('--repeats', type=int, default=5,
                        help='measurements of each latency; default: 5')
    parser.add_argument('--split', choices=['val', 'test'], default='val',
                        help='whose images and annotations; default: val')
    parser.add_argument('--device', default=get_device(),
                        help='that the model runs on; default: %(default)s')
    parser.add_argument('--threads', type=int,
                        help="of the CPU; default: PyTorch's")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    args = parser.parse_args(argv)
    for name in ('images', 'repeats', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} {value}: accepted is a number >= 1.')
    if args.out is None:
        args.out = Path('work_dirs/budget', '_'.join(
            Path(each).stem for each in (args.config, args.checkpoint))
            + '.parquet')
    return args


def build_profiler(args: argparse.Namespace, cfg: Config) -> Profiler:
    """The model with its weights and its knobs, and the images."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(model_config(cfg))
    fill(model, load_file(args.checkpoint), args.checkpoint)
    parts = BudgetParts.build(model.to(args.device), cfg.get('budget'))
    key = f'{args.split}_dataloader'
    if cfg.get(key) is None:
        raise ValueError(f'{args.config}: the config has no {key}; accepted: '
                         'one with annotations.')
    loader = Runner.build_dataloader(dict(
        cfg[key], batch_size=1, num_workers=0, persistent_workers=False))
    assert loader.collate_fn is not None
    return Profiler(parts, loader.dataset, loader.collate_fn, args.repeats,
                    args.seed, cfg.budget.get('controller'))


def measure(profiler: Profiler, kept: MeasuredImages, images: list[int],
            console: Console) -> None:
    """Measure the images that have not been."""
    todo = [image for image in images if image not in kept]
    if len(todo) < len(images):
        console.print(f'{len(images) - len(todo)} of {len(images)} images have '
                      'been measured before.')
    if todo:
        profiler.warm_up(todo[0])
    spoke = time.monotonic()
    for done, image in enumerate(track(
            todo, 'images', console=console, disable=not console.is_terminal)):
        kept.add(profiler.measure(image))
        if not console.is_terminal and time.monotonic() - spoke > SPEAK:
            spoke = time.monotonic()
            console.print(f'{done + 1}/{len(todo)} images')


@errors_as_sentences()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    console = Console()
    if args.threads:
        torch.set_num_threads(args.threads)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = student_config(load_config(args.config,
                                         cfg_options=args.cfg_options))
        profiler = build_profiler(args, cfg)
    parts, machine = profiler.parts, describe_machine(args.device)
    model = digest(args.checkpoint)
    identity: dict[str, Any] = dict(
        model=model, knobs=parts.space.header(),
        budget={key: value for key, value in cfg.budget.to_dict().items()
                if key in MEASURED}, machine=machine, split=args.split,
        images=len(profiler.dataset), seed=args.seed, repeats=args.repeats)
    kept = MeasuredImages(Path(f'{args.out}.parts'), identity)
    images = profiler.images(args.images)
    measure(profiler, kept, images, console)
    profiles = [kept.load(image) for image in sorted(images)]
    write_table(
        args.out,
        profiler.header(profiles, machine, str(args.config), model),
        [row for profile in profiles for row in profiler.rows(profile)])
    console.print(f'{args.out} is written: {len(profiles)} images, '
                  f'{len(parts.space)} settings.')


if __name__ == '__main__':
    main()
