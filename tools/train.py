"""Train a model with mmengine's Runner.

    python tools/train.py CONFIG [--method NAME|FILE] [--work-dir DIR]
        [--resume [CKPT]] [--amp] [--cfg-options KEY=VALUE …] [--launcher pytorch]

Several processes: ``tools/dist_train.sh CONFIG GPUS``.
"""

import argparse
import os

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import (
    add_method_argument,
    load_config,
    work_dir_of,
)
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.inspection import check_config
from mmrlkd.engine.processes import join_processes
from mmrlkd.engine.run_state_hook import add_run_state_hook
from mmrlkd.files import no_code_from_files
from mmrlkd.search.settings import check_searching, searches


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a model, or distil one.')
    parser.add_argument('config', help='config file')
    add_method_argument(parser)
    parser.add_argument(
        '--work-dir', help='where logs and checkpoints go; default: '
        'work_dirs/<name of the config>, with _<method> where --method is '
        'given')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CHECKPOINT',
        help='continue from a checkpoint; without one, from the latest of '
        'the work dir')
    parser.add_argument(
        '--amp', action='store_true',
        help='automatic mixed precision (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true',
        help='scale the learning rate with the global batch size')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config, as in '
        'model.selector.reward.efficiency=0.3')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none', help='how the processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def read_config(args: argparse.Namespace) -> Config:
    """The config of a run, with the command line's options.

    Raises:
        ValueError: an option does not fit the config or the machine.
    """
    cfg = load_config(args.config, args.method, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = work_dir_of(args.config, args.method)
    if args.amp:
        _enable_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                '--auto-scale-lr needs auto_scale_lr.base_batch_size in the '
                'config; accepted: the batch size its learning rate is for.')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    return cfg


def _enable_amp(cfg: Config) -> None:
    import torch
    if not torch.cuda.is_available():
        raise ValueError(
            '--amp needs a GPU and none is visible; accepted: leave it out.')
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(
            f'--amp cannot be added to optim_wrapper.type={kind!r}; accepted: '
            'OptimWrapper or AmpOptimWrapper.')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


@errors_as_sentences()
@no_code_from_files()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_sentences(CONFIG_ERRORS):
        cfg = read_config(args)
        check_config(cfg)
        check_searching(cfg)
        add_run_state_hook(cfg)
        join_processes(cfg)
        runner = (RUNNERS.build(cfg) if 'runner_type' in cfg else
                  Runner.from_cfg(cfg))
    if searches(cfg):
        runner.logger.warning(
            'The config has a search, which tools/search.py runs; this is a '
            f'training with {cfg.model.selector.type} as it stands.')
    runner.train()


if __name__ == '__main__':
    main()
