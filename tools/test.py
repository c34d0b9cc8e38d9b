"""Test a checkpoint: a plain model's, or a distilled student's.

    python tools/test.py CONFIG CHECKPOINT [--out results.pkl]
        [--cfg-options KEY=VALUE …] [--launcher pytorch]

Of a distillation config only the student is built: no teacher is loaded.
"""

import argparse
import os
import sys
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.evaluator import DumpResults
from mmengine.runner import Runner

import mmrlkd  # noqa: F401
from mmrlkd.engine.inspection import CONFIG_ERRORS
from mmrlkd.engine.student import student_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the student')
    parser.add_argument('--work-dir', help='where logs and metrics go')
    parser.add_argument('--out', help='.pkl file to dump the predictions to')
    parser.add_argument(
        '--show-dir', help='folder to draw the predictions into')
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


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = parse_args(argv)
    if not Path(args.checkpoint).is_file() and '://' not in args.checkpoint:
        sys.exit(f'checkpoint {args.checkpoint!r} is not a file.')
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(
        Path('work_dirs', Path(args.config).stem))
    # Without a file name, or the training's config in the same work dir
    # would be overwritten.
    cfg = Config(student_config(cfg).to_dict())
    cfg.load_from = args.checkpoint
    if args.show_dir:
        cfg.default_hooks.visualization = dict(
            type='DetVisualizationHook', draw=True,
            test_out_dir=args.show_dir)
    try:
        runner = Runner.from_cfg(cfg)
    except CONFIG_ERRORS as error:
        sys.exit(f'{args.config}: {error}')
    if args.out:
        runner.test_evaluator.metrics.append(
            DumpResults(out_file_path=args.out))
    return runner.test()


if __name__ == '__main__':
    main()
