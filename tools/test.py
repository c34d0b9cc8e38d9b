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
from mmrlkd.config.compose import load_config
from mmrlkd.config.inspection import CONFIG_ERRORS
from mmrlkd.config.student import student_config
from mmrlkd.engine.processes import join_processes


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


def draw_into(folder: str, cfg: Config) -> None:
    """Have the predictions drawn, by the hook of the config's library."""
    scope = cfg.get('default_scope', 'mmdet')
    cfg.default_hooks.visualization = {
        'mmdet': dict(type='DetVisualizationHook', draw=True,
                      test_out_dir=folder),
        'mmseg': dict(type='SegVisualizationHook', draw=True),
        'mmpretrain': dict(type='VisualizationHook', enable=True, interval=1,
                           out_dir=folder),
    }[scope]
    if scope == 'mmseg':  # its hook draws where the visualizer does
        cfg.visualizer.save_dir = folder


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = parse_args(argv)
    if not Path(args.checkpoint).is_file() and '://' not in args.checkpoint:
        sys.exit(f'checkpoint {args.checkpoint!r} is not a file.')
    cfg = load_config(args.config, cfg_options=args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(
        Path('work_dirs', Path(args.config).stem))
    # Without a file name, or the training's config in the same work dir
    # would be overwritten.
    cfg = Config(student_config(cfg).to_dict())
    cfg.load_from = args.checkpoint
    if args.show_dir:
        draw_into(args.show_dir, cfg)
    try:
        join_processes(cfg)
        runner = Runner.from_cfg(cfg)
    except CONFIG_ERRORS as error:
        sys.exit(f'{args.config}: {error}')
    if args.out:
        runner.test_evaluator.metrics.append(
            DumpResults(out_file_path=args.out))
    return runner.test()


if __name__ == '__main__':
    main()
