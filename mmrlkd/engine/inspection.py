"""Looking at a config before anything is built from it."""

import json
import os
from pathlib import Path

from mmengine.config import Config

from .phase_hook import make_phase
from .student import is_distiller

#: What building something from a config raises when the config is wrong:
#: mmengine says so of an unknown type or argument with the last two.
CONFIG_ERRORS = (ValueError, FileNotFoundError, KeyError, TypeError)


def check_config(cfg: Config) -> None:
    """Refuse a config that would train and lose something, or not train.

    Raises:
        ValueError: no training annotations, or a distiller whose checkpoints
            could not be resumed or whose wrapper would not distil.
    """
    check_annotations(cfg)
    check_plugs(cfg)


def check_plugs(cfg: Config) -> None:
    """Refuse a distiller whose hook or wrapper does not know it."""
    if not is_distiller(cfg):
        return
    accumulates = cfg.optim_wrapper.get('accumulative_counts', 1) > 1
    skips = any(
        make_phase(**phase).student_every > 1
        for hook in cfg.get('custom_hooks', [])
        if hook['type'] == 'mmrlkd.PhaseHook' for phase in hook['phases'])
    if accumulates and skips:
        raise ValueError(
            f'optim_wrapper.accumulative_counts is '
            f'{cfg.optim_wrapper.accumulative_counts}, which counts '
            'iterations, but a phase updates the student in some of them '
            'only (student_every > 1); accepted: 1, or student_every=1 in '
            'every phase.')
    for key, section, accepted in (
        ('default_hooks.checkpoint',
         cfg.get('default_hooks', {}).get('checkpoint'),
         'mmrlkd.DistillCheckpointHook'),
        ('model_wrapper_cfg', cfg.get('model_wrapper_cfg'),
         'mmrlkd.DistillDataParallel'),
    ):
        kind = (section or {}).get('type')
        if kind != accepted and not (
                key == 'model_wrapper_cfg'
                and cfg.get('launcher', 'none') == 'none'):
            raise ValueError(
                f'{key}.type is {kind!r}, which does not know a distiller; '
                f'accepted: {accepted!r}.')


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
    path = Path(dataset.get('data_root') or '', file)
    if '://' in str(path):
        return
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
