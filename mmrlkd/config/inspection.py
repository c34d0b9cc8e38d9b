"""Checking a config before anything is built from it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    METRICS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    VISBACKENDS,
    VISUALIZERS,
)

from mmrlkd.arguments import check_integer
from mmrlkd.engine.phase_hook import check_phases, phases_of
from mmrlkd.files import relative_to

from .errors import CONFIG_ERRORS
from .keywords import check_distiller, find_class, near, type_name
from .student import is_distiller, settings_of

__all__ = [
    'CONFIG_ERRORS', 'check_annotations', 'check_config', 'check_plugs',
    'check_start', 'data_sets', 'settings_of'
]


def check_config(cfg: Config) -> None:
    """Refuse a config that would fail later, or train without distilling.

    Raises:
        ValueError: no schedule, no training annotations, no file to begin from,
            an unknown option, or a distiller whose phases, Runner or wrapper do
            not fit.
    """
    _check_schedule(cfg)
    check_start(cfg)
    check_plugs(cfg)
    check_annotations(cfg)


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
    for section, keys in (('train_dataloader', ['batch_size']),
                          ('val_dataloader', ['batch_size']),
                          ('train_cfg', ['max_epochs', 'max_iters'])):
        for key in keys:
            value = (cfg.get(section) or {}).get(key)
            if value is not None:
                check_integer(section, key, value, 1)


def check_start(cfg: Config) -> None:
    """Refuse to begin from a file that is not there.

    Raises:
        ValueError: ``load_from`` names none.
    """
    start = cfg.get('load_from')
    if isinstance(start, str) and '://' not in start and not Path(start).is_file():
        key = '--resume' if cfg.get('resume') else 'load_from'
        raise ValueError(
            f'{key}: {start}{relative_to(start)} is not a file; accepted: the path or '
            'address of a checkpoint.')


def check_plugs(cfg: Config) -> None:
    """Refuse types that nothing registers, and a distiller with unknown options, or
    in a Runner, with a hook or in a wrapper that does not call its training step."""
    _check_library_types(cfg)
    if not is_distiller(cfg):
        return
    check_distiller(cfg)
    _check_runner(cfg)
    _check_checkpointing(cfg)
    _check_constructor(cfg)
    # mmengine counts iterations to know when to step, and would step in one that
    # does not update the student.
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
            and type_name(wrapper) != 'DistillDataParallel'):
        raise ValueError(
            f'model_wrapper_cfg.type is {wrapper!r}, which does not know a '
            "distiller; accepted: 'mmrlkd.DistillDataParallel'.")


def _check_library_types(cfg: Config) -> None:
    """Refuse types that neither the libraries nor ``custom_imports`` register."""
    def listed(value: Any) -> list:
        return value if isinstance(value, list) else [value]

    sections = [
        ('optim_wrapper.optimizer', 'optimizer', OPTIMIZERS,
         (cfg.get('optim_wrapper') or {}).get('optimizer')),
        ('visualizer', 'visualizer', VISUALIZERS, cfg.get('visualizer'))]
    for key, what, registry, members in (
            ('param_scheduler', 'scheduler', PARAM_SCHEDULERS,
             cfg.get('param_scheduler')),
            ('visualizer.vis_backends', 'backend', VISBACKENDS,
             (cfg.get('visualizer') or {}).get('vis_backends')),
            *((f'{part}_evaluator', 'metric', METRICS, cfg.get(f'{part}_evaluator'))
              for part in ('val', 'test'))):
        sections += [(f'{key}.{i}' if isinstance(members, list) else key, what,
                      registry, each) for i, each in enumerate(listed(members))]
    sections += [
        (f'{part}_dataloader.sampler', 'sampler', DATA_SAMPLERS,
         (cfg.get(f'{part}_dataloader') or {}).get('sampler'))
        for part in ('train', 'val', 'test')]
    for path, what, registry, section in sections:
        kind = section.get('type') if isinstance(section, Mapping) else None
        if kind and 'metrics' in section:
            continue  # an evaluator that holds metrics, such as mmdet's of several sets
        if kind and find_class(registry, kind, cfg.get('default_scope')) is None:
            article = 'an' if what[0] in 'aeiou' else 'a'
            names = [name for each in (registry, *registry.children.values())
                     for name in each.module_dict]
            raise ValueError(
                f'{path}.type is {kind!r}, which is no {what}{near(kind, names)}; '
                f'accepted: {article} {what} of torch, mmengine, the library or '
                'custom_imports.')


def _check_runner(cfg: Config) -> None:
    """Refuse mmengine's FlexibleRunner."""
    # The train_step of its wrappers calls the model with mode='loss', and not
    # the model's own train_step.
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
    """Refuse optimizer constructors for layer-wise decay."""
    constructor = (cfg.get('optim_wrapper') or {}).get('constructor')
    if 'Decay' in str(constructor):
        raise ValueError(
            f'optim_wrapper.constructor is {constructor!r}, which gives the '
            'layers of model.backbone learning rates of their own and does '
            "not know the student's; accepted: no constructor, and "
            'paramwise_cfg for single layers.')


def _check_checkpointing(cfg: Config) -> None:
    """Refuse activation checkpointing outside the student, or together with
    substituted parameters."""
    # The teacher runs without gradients, so there is nothing to recompute.
    names = cfg.get('activation_checkpointing') or []
    names = [names] if isinstance(names, str) else names
    for name in names:
        if not name.startswith('student.'):
            raise ValueError(
                f'activation_checkpointing names {name!r}; accepted: modules '
                "of the student, such as 'student.backbone.layer1'.")
    key = ('activation_checkpointing' if names else
           'with_cp' if any(settings_of(cfg.model.get('student'), 'with_cp')) else '')
    if key and any(type_name(hook['type']) == 'HeldOutHook'
                   for hook in cfg.get('custom_hooks') or []):
        raise ValueError(
            f"{key} is set, but {cfg.model.selector.type} runs the student "
            'with other weights, and activations would be recomputed with '
            f'its own; accepted: no {key}.')


def data_sets(config: Any, key: str) -> Iterator[tuple[str, dict]]:
    """The data sets that a config has, inside its wrappers, with their keys.

    Args:
        config: a data set's, or a wrapper's such as RepeatDataset or
            ConcatDataset.
        key: of it.
    """
    if isinstance(config, list | tuple):
        for i, each in enumerate(config):
            yield from data_sets(each, f'{key}.{i}')
        return
    if not isinstance(config, dict):
        return
    inner = [name for name in ('dataset', 'datasets') if name in config]
    for name in inner:
        yield from data_sets(config[name], f'{key}.{name}')
    if not inner:
        yield key, config


def check_annotations(cfg: Config) -> None:
    """Refuse annotation files of the training set that are missing or empty.

    Data sets that name no file, such as folders of classes, are not checked.

    Raises:
        ValueError: a file is missing or empty.
    """
    loader = cfg.get('train_dataloader')
    if not isinstance(loader, Mapping) or 'dataset' not in loader:
        raise ValueError(
            'train_dataloader has no dataset; accepted: the data loader of a '
            'config, as in _base_/datasets.')
    for key, dataset in data_sets(loader['dataset'], 'train_dataloader.dataset'):
        files = dataset.get('ann_file') or ()
        for file in [files] if isinstance(files, str) else files:
            _check_file(file, dataset, f'{key}.ann_file')


def _check_file(file: str, dataset: Mapping, key: str) -> None:
    root = dataset.get('data_root') or ''
    # Only local files can be checked without the data set's own reader.
    if '://' in root or '://' in file or dataset.get('backend_args'):
        return  # on a server or in an archive
    path = Path(root, file)
    if not path.is_file():
        raise ValueError(
            f'{key}: {path}{relative_to(path)} is not a file; accepted: the '
            'annotations of the training images (set data_root or ann_file).')
    if path.suffix != '.json' or path.stat().st_size == 0:
        return
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f'{key}: {path} is not JSON ({error}); accepted: a COCO '
            'annotation file, or one of mmengine with its data_list.'
        ) from error
    if not isinstance(content, dict):
        return
    # mmengine's format has a data_list, COCO's has annotations beside images.
    # A file with neither is of a data set's own format.
    for entry in ('data_list', 'annotations'):
        if entry in content or (entry == 'annotations' and (
                'images' in content or not content)):
            if content.get(entry):
                return
            raise ValueError(
                f'{key}: {path} has no annotations; accepted: a COCO file '
                "whose 'annotations' list is not empty, or a file of mmengine "
                "whose 'data_list' is not.")
