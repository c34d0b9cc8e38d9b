"""Looking at a config before anything is built from it."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmrlkd.engine.phase_hook import check_phases, phases_of

from .student import is_distiller

#: What building something from a config raises when the config is wrong:
#: mmengine says so of an unknown type or argument with KeyError and TypeError,
#: the libraries of an unfit argument with AssertionError, and of a missing
#: optional package with that or an ImportError.
CONFIG_ERRORS = (ValueError, FileNotFoundError, KeyError, TypeError,
                 AssertionError, ImportError)


def check_config(cfg: Config) -> None:
    """Refuse a config that would train and lose something, or not train.

    Raises:
        ValueError: no schedule, no training annotations, or a distiller whose phases do
            not fit or whose runner or wrapper would not distil.
    """
    _check_schedule(cfg)
    check_annotations(cfg)
    check_plugs(cfg)


def _check_schedule(cfg: Config) -> None:
    """Refuse a config that does not say how to train."""
    for key, accepted in (
            ('train_dataloader', 'a data loader'),
            ('train_cfg', 'dict(max_epochs=…) or dict(max_iters=…)'),
            ('optim_wrapper', 'dict(optimizer=…)')):
        if not cfg.get(key):
            raise ValueError(
                f'{key} is {cfg.get(key)!r}, and without it nothing is '
                f'trained; accepted: {accepted}.')


def check_plugs(cfg: Config) -> None:
    """Refuse a distiller whose runner, hook or wrapper does not know it."""
    if not is_distiller(cfg):
        return
    _check_runner(cfg)
    _check_checkpointing(cfg)
    _check_constructor(cfg)
    accumulates = (cfg.get('optim_wrapper') or {}).get(
        'accumulative_counts', 1) > 1
    skips = any(phase.student_every > 1 for phase in phases_of(cfg))
    if accumulates and skips:
        raise ValueError(
            f'optim_wrapper.accumulative_counts is '
            f'{cfg.optim_wrapper.accumulative_counts}, which counts '
            'iterations, but a phase updates the student in some of them '
            'only (student_every > 1); accepted: 1, or student_every=1 in '
            'every phase.')
    check_phases(cfg)
    wrapper = (cfg.get('model_wrapper_cfg') or {}).get('type')
    if (cfg.get('launcher', 'none') != 'none'
            and wrapper != 'mmrlkd.DistillDataParallel'):
        raise ValueError(
            f'model_wrapper_cfg.type is {wrapper!r}, which does not know a '
            "distiller; accepted: 'mmrlkd.DistillDataParallel'.")


def _check_runner(cfg: Config) -> None:
    """Refuse what shards or offloads a model by another runner."""
    strategy = cfg.get('strategy') or {}
    for key, value, wrong in (
        ('strategy.type', strategy.get('type'), bool(strategy)),
        ('runner_type', cfg.get('runner_type'),
         str(cfg.get('runner_type')).endswith('FlexibleRunner')),
    ):
        if wrong:
            raise ValueError(
                f"{key} is {value!r}: FlexibleRunner's strategies (FSDP, "
                "DeepSpeed, ColossalAI and its DDP) pass a distiller's step "
                "by; accepted: neither runner_type nor strategy; where memory "
                'is short, activation_checkpointing.')


def _check_constructor(cfg: Config) -> None:
    """Refuse constructors that look for a backbone's layers by name."""
    constructor = (cfg.get('optim_wrapper') or {}).get('constructor')
    if 'Decay' in str(constructor):
        raise ValueError(
            f'optim_wrapper.constructor is {constructor!r}, which gives the '
            'layers of model.backbone learning rates of their own and does '
            "not know the student's; accepted: no constructor, and "
            'paramwise_cfg for single layers.')


def _check_checkpointing(cfg: Config) -> None:
    """Refuse to recompute what is not there, or with other weights."""
    names = cfg.get('activation_checkpointing') or []
    names = [names] if isinstance(names, str) else names
    for name in names:
        if not name.startswith('student.'):
            raise ValueError(
                f'activation_checkpointing names {name!r}; accepted: modules '
                "of the student, such as 'student.backbone.layer1'.")
    key = ('activation_checkpointing' if names else
           'with_cp' if any(settings_of(cfg.model.get('student'), 'with_cp')) else '')
    if key and any(hook['type'] == 'mmrlkd.HeldOutHook'
                   for hook in cfg.get('custom_hooks') or []):
        raise ValueError(
            f"{key} is set, but {cfg.model.selector.type} tries other weights "
            'in the student, and what is computed again would be computed '
            f'with its own; accepted: no {key}.')


def settings_of(config: Any, key: str) -> Iterator[Any]:
    """Every value that ``key`` has anywhere inside a config."""
    if isinstance(config, Mapping):
        if key in config:
            yield config[key]
        config = config.values()
    elif not isinstance(config, list | tuple):
        return
    for value in config:
        yield from settings_of(value, key)


def check_annotations(cfg: Config) -> None:
    """Refuse a training set that is not there or has no annotations.

    Looks at the annotation file that the config names; datasets that name
    none (folders of classes) are left to their library.
    """
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:  # RepeatDataset and other wrappers
        dataset = dataset.dataset
    file = dataset.get('ann_file')
    if not file:
        return
    root = dataset.get('data_root') or ''
    if '://' in root or '://' in file or dataset.get('backend_args'):
        return  # not on this machine's disk
    path = Path(root, file)
    key = 'train_dataloader.dataset.ann_file'
    if not path.is_file():
        raise ValueError(
            f'{key}: {path} is not a file; accepted: the annotations of the '
            'training images (set data_root or ann_file).')
    if path.suffix != '.json' or os.path.getsize(path) == 0:
        return
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f'{key}: {path} is not JSON ({error}); accepted: a COCO '
            'annotation file.') from error
    if isinstance(content, dict) and not content.get('annotations'):
        raise ValueError(
            f'{key}: {path} has no annotations; accepted: a COCO file whose '
            "'annotations' list is not empty.")
