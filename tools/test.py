"""Test a checkpoint: a plain model's, or a distilled student's.

    python tools/test.py CONFIG CHECKPOINT [--out results.pkl] [--tta]
        [--cfg-options KEY=VALUE …] [--launcher pytorch]

Of a distillation config only the student is built: no teacher is loaded.
"""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.evaluator import DumpResults
from mmengine.runner import Runner

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.student import student_config
from mmrlkd.config.testing import augment, draw_into
from mmrlkd.engine.processes import join_processes
from mmrlkd.engine.trained import load_student
from mmrlkd.files import no_code_from_files, relative_to


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the student')
    parser.add_argument('--work-dir', help='where logs and metrics go')
    parser.add_argument('--out', help='.pkl file to dump the predictions to')
    parser.add_argument(
        '--show-dir', help='folder to draw the predictions into')
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation: merge the '
        "predictions of an image and its mirror image, or what the config's "
        'tta_model and tta_pipeline say')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none', help='how the processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out {args.out}: accepted are .pkl and .pickle files')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def read_config(args: argparse.Namespace) -> Config:
    """The student's config, with the command line's options.

    Raises:
        ValueError: an option does not fit the config or the machine.
    """
    cfg = load_config(args.config, cfg_options=args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(
        Path('work_dirs', Path(args.config).stem))
    # Without a file name: the Runner dumps a config under it, and would overwrite
    # the training's in the same work dir.
    cfg = Config(student_config(cfg).to_dict())
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        if cfg.get(key) is None:
            raise ValueError(
                f'{args.config}: the config has no {key}; accepted: one, such '
                f'as {key} = {key.replace("test", "val")}.')
    if args.tta:
        augment(cfg)
    if args.show_dir:
        draw_into(args.show_dir, cfg)
    return cfg


@errors_as_sentences()
@no_code_from_files()
def main(argv: list[str] | None = None) -> dict[str, float]:
    args = parse_args(argv)
    if not Path(args.checkpoint).is_file() and '://' not in args.checkpoint:
        raise FileNotFoundError(
            f'checkpoint {args.checkpoint!r}{relative_to(args.checkpoint)} is not a '
            'file.')
    with errors_as_sentences(CONFIG_ERRORS):
        cfg = read_config(args)
        join_processes(cfg)
        runner = Runner.from_cfg(cfg)
        load_student(runner, args.checkpoint)
    if args.out:
        runner.test_evaluator.metrics.append(
            DumpResults(out_file_path=args.out))
    return runner.test()


if __name__ == '__main__':
    main()
