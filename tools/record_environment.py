"""Record a training's environment, to play its episodes at memory speed.

    python tools/record_environment.py CONFIG CHECKPOINT [--images 400]
        [--augmentations 1] [--out FILE.safetensors] [--method NAME|FILE]
        [--seed 0] [--student-only] [--cfg-options KEY=VALUE …]

CHECKPOINT is one of a run of CONFIG, whose selector has a reward. Training images
are shown to the student as in training, and nothing learns. What policies would see
of them and what the reward says of every subset of levels is written to a file that
``mmrlkd.distillation.selection.recorded.RecordedEnvironment.load`` reads. With
``--student-only`` CHECKPOINT may be of a run of the same pair by another method.
"""

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import add_method_argument, load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.distillation.recording import (
    augmented,
    efficiency_of,
    record_images,
    reward_config,
    reward_of,
    warmed_up,
)
from mmrlkd.distillation.selection.recorded import (
    Header,
    RecordedEnvironment,
    Recording,
    save_recording,
)
from mmrlkd.engine.trained import load_distiller
from mmrlkd.files import digest

#: Batches for the running means of a reward that has seen none.
WARM_UP = 20


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Record a training's environment, to play its episodes "
        'at memory speed.')
    parser.add_argument('config', help='config of a selector with a reward')
    parser.add_argument('checkpoint', help='of a run of the config')
    add_method_argument(parser)
    parser.add_argument('--images', type=int, default=400,
                        help='training images to record; default: 400')
    parser.add_argument('--augmentations', type=int, default=1,
                        help='times that each is recorded; default: 1')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--student-only', action='store_true', help='take the student and its '
        'connectors alone: the checkpoint may be of another method')
    parser.add_argument(
        '--out', type=Path, help='file; default: '
        'work_dirs/recordings/CONFIG_CHECKPOINT.safetensors')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    args = parser.parse_args(argv)
    for name in ('images', 'augmentations'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} {getattr(args, name)}: accepted is a '
                         'number >= 1.')
    if args.out is None:
        args.out = Path('work_dirs/recordings', '_'.join(
            Path(each).stem for each in (args.config, args.checkpoint))
            + '.safetensors')
    return args


def record(args: argparse.Namespace,
           cfg: Config) -> tuple[Recording, Header]:
    """The images, and what they were recorded with."""
    model = load_distiller(cfg, args.checkpoint, get_device(),
                           selector=not args.student_only)
    reward = reward_of(model)
    dataset = Runner.build_dataloader(cfg.train_dataloader).dataset

    def batches(times: int) -> Any:
        return augmented(cfg, dataset, args.images, args.seed, times)

    # One that the checkpoint brought along stays: it is the live environment's.
    if not reward.stream.updates.any():
        reward = warmed_up(model, reward, islice(next(batches(1)), WARM_UP))
    recording: Any = torch.cat([
        record_images(model, reward, each)
        for each in batches(args.augmentations)])
    return recording, Header(
        space=model.distillation.space, config=str(args.config),
        checkpoint=digest(args.checkpoint),
        reward=reward_config(cfg, reward), efficiency=efficiency_of(model),
        context=tuple(model.selector.context))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = load_config(args.config, args.method, args.cfg_options)
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        recording, header = record(args, cfg)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        save_recording(args.out, recording, header)
    environment = RecordedEnvironment.load(args.out)
    subset, regret = environment.fixed_regret()
    names = [name for i, name in enumerate(header.space.names)
             if subset >> i & 1]
    best = environment.returns.amax(-1).mean()
    print(f"{args.out} is written: {len(recording)} images. The best subset for "
          f"each of them earns {best:.3f} on average, the best one for all, "
          f"{'+'.join(names) or 'none'}, {best - regret.mean():.3f}.")


if __name__ == '__main__':
    main()
