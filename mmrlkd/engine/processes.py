"""Distributed training on a machine without a GPU."""

from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device

from mmrlkd.config.inspection import settings_of
from mmrlkd.config.student import student_config

#: Names of layers that compute statistics over all processes; torch has them
#: for GPUs only.
_SYNC_BN = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')


def join_processes(cfg: Config) -> None:
    """Initialise torch.distributed with gloo, if no accelerator is visible.

    mmengine's ``init_dist`` calls ``torch.cuda.set_device``; the Runner skips it
    if torch.distributed is initialised already. The Runner also wraps a plain
    model with ``device_ids`` of a GPU, unless the config has a
    ``model_wrapper_cfg``. The timeout is the config's
    ``env_cfg.dist_cfg.timeout``, in seconds.

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
