"""Several processes on a machine without GPU."""

from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device

from mmrlkd.config.inspection import settings_of
from mmrlkd.config.student import student_config

#: How configs name layers that average their statistics over the processes.
_SYNC_BN = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')


def join_processes(cfg: Config) -> None:
    """Join the other processes by gloo, where no accelerator is visible.

    mmengine's Runner joins them by itself, but asks CUDA for a device first;
    it leaves alone what has been joined before. It also names a GPU when it
    wraps a plain model, unless the config says how to. The timeout is the
    config's ``env_cfg.dist_cfg.timeout``, in seconds.

    Args:
        cfg: of the run; its ``launcher`` says how the processes were started.

    Raises:
        ValueError: the launcher, or something in the config, needs GPUs.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ValueError(
            f'--launcher {launcher} needs GPUs and none is visible; accepted: '
            'pytorch, as tools/dist_train.sh has it.')
    _refuse_sync_bn(cfg)
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None,
            broadcast_buffers=False, find_unused_parameters=cfg.get(
                'find_unused_parameters', False))
    timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    torch.distributed.init_process_group(
        'gloo', timeout=None if timeout is None else timedelta(
            seconds=timeout))


def _refuse_sync_bn(cfg: Config) -> None:
    named = {'sync_bn': cfg.get('sync_bn')}
    for kind in settings_of(student_config(cfg).model, 'type'):
        if kind in _SYNC_BN:
            named['norm_cfg.type'] = kind
    for key, value in named.items():
        if value is not None:
            raise ValueError(
                f'{key} is {value!r}, which needs GPUs, and none is visible; '
                "accepted on CPUs: norm_cfg=dict(type='BN') or 'GN', and no "
                'sync_bn.')
