"""Saving what resuming needs beyond the student, in the same checkpoint file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import (
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import find_latest_checkpoint
from mmengine.utils import apply_to
from torch import Tensor

from mmrlkd.config.keywords import type_name
from mmrlkd.config.student import (
    is_distiller,
    plain_student_config,
    settings_of,
)
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import HOOKS

from .distiller_hook import distiller_in

#: Top-level key of a checkpoint, ignored by the libraries' own tools.
RUN_STATE = 'mmrlkd'

#: Augmentations with a cache or a state that no checkpoint holds.
REMEMBERING = ('CachedMosaic', 'CachedMixUp', 'BatchSyncRandomResize')


@HOOKS.register_module()
class RunStateHook(Hook):
    """Keeps in every checkpoint what resuming a distillation needs.

    ``state_dict`` stays the student's, with the student's keys. Under the
    top-level key ``mmrlkd`` lie connectors, policy, the policy's optimizer,
    running means, unfinished rollouts and the logs' history. The file loads
    with ``torch.load(weights_only=True)``, whatever hook writes it.

    Rollouts differ from rank to rank, and mmengine's CheckpointHook saves on
    the first rank alone: those of the others are dropped then, with a warning.
    :class:`.DistillCheckpointHook` gathers them.
    """

    priority = 'LOWEST'  # after all hooks that change the checkpoint

    def __init__(self) -> None:
        self._rollouts: list[dict[str, Any]] | None = None
        self._warned = False

    def before_run(self, runner) -> None:
        distiller = distiller_in(runner)
        if distiller is not None:
            distiller.keeps_run_state = True  # without it, training refuses
            for name in remembering(runner.cfg):
                runner.logger.warning(
                    f'{name} keeps what it saw in a memory that no checkpoint '
                    'holds: if this run is stopped and resumed, its '
                    'augmentation will be another than if it had not been.')

    def gather(self, runner) -> None:
        """Gather the unfinished rollouts of all ranks for the next checkpoint;
        called on all ranks, unlike ``before_save_checkpoint``."""
        distiller = distiller_in(runner)
        if distiller is not None:
            gathered = all_gather_object(distiller.selector.local_run_state())
            self._rollouts = gathered if is_main_process() else None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the state, and replace objects that ``weights_only=True`` refuses."""
        # mmengine pickles its MessageHub with the HistoryBuffers of the log.
        hub = checkpoint['message_hub']
        info = {key: _plain(value)
                for key, value in hub['runtime_info'].items()}
        checkpoint['message_hub'] = dict(
            log_scalars={}, runtime_info=info,
            resumed_keys={key: True for key in info})
        # The hub's history is kept in `state['logs']` as tensors instead.
        checkpoint['meta'] = _plain(checkpoint['meta'])
        # Inferencers read either of them, without this package installed.
        text = plain_student_config(runner.cfg).pretty_text
        checkpoint['meta']['cfg'] = text
        checkpoint['message_hub']['runtime_info']['cfg'] = text
        distiller = distiller_in(runner)
        if distiller is None:
            return
        state = checkpoint.setdefault(RUN_STATE, {})
        state['distiller'] = distiller.run_state()
        state['logs'] = {
            key: [torch.as_tensor(np.asarray(part)) for part in value.data]
            for key, value in runner.message_hub.log_scalars.items()
            if len(value.data[0])}
        if 'optimizer' in checkpoint:  # a checkpoint to resume from
            state['local'] = self._take_rollouts(runner, distiller)
        # On the CPU, so that the file loads on a machine without a GPU.
        checkpoint[RUN_STATE] = apply_to(
            state, lambda x: isinstance(x, Tensor), lambda x: x.cpu())

    def _take_rollouts(self, runner, distiller: PyramidDistiller
                       ) -> list[dict[str, Any]]:
        gathered, self._rollouts = self._rollouts, None
        if gathered is None:
            gathered = [distiller.selector.local_run_state()]
            if get_world_size() > 1 and not self._warned:
                self._warned = True
                runner.logger.warning(
                    'Checkpoints are saved by one process: unfinished '
                    'rollouts of the others will be dropped on resuming; '
                    'default_hooks.checkpoint.type='
                    "'mmrlkd.DistillCheckpointHook' keeps them.")
        return gathered

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """When resuming, restore the state.

        Raises:
            ValueError: the file has none, or that of another model.
        """
        distiller = distiller_in(runner)
        if not runner._resume or distiller is None:
            return
        # mmengine does not pass the path on; only files of version 0.1 need it.
        path = runner._load_from or find_latest_checkpoint(runner.work_dir)
        state = apply_to(
            read_run_state(path, checkpoint),
            lambda x: isinstance(x, Tensor), lambda x: x.cpu())
        _check_student(checkpoint['state_dict'], distiller)
        distiller.load_run_state(state['distiller'])
        # A rank gets its own rollouts back, so the number of ranks must be the
        # same; fewer episodes are no error, only a smaller update.
        local = state.get('local', [])
        if len(local) == get_world_size():
            distiller.selector.load_local_run_state(local[get_rank()])
        else:
            runner.logger.warning(
                f'The run was saved with the rollouts of {len(local)} '
                f'processes, and this one has {get_world_size()}: unfinished '
                'rollouts are dropped.')
        for key, (values, counts) in state['logs'].items():
            runner.message_hub.log_scalars[key] = HistoryBuffer(
                values.tolist(), counts.tolist())


def read_run_state(path: str | Path, checkpoint: dict) -> dict[str, Any]:
    """The state that :class:`RunStateHook` saved, from a checkpoint or, for
    checkpoints of version 0.1, from the ``.distill`` file beside it.

    Args:
        path: of the checkpoint.
        checkpoint: its content.

    Raises:
        ValueError: there is neither.
    """
    if 'distiller' in checkpoint.get(RUN_STATE, {}):
        return checkpoint[RUN_STATE]
    beside = Path(path).with_suffix('.distill')
    if beside.is_file():
        return torch.load(beside, map_location='cpu', weights_only=True)
    raise ValueError(
        f'{path} has no {RUN_STATE!r}, where connectors and policy lie; '
        'accepted: a checkpoint that a run with mmrlkd.RunStateHook wrote '
        '(or, of an older version, one with its .distill file beside it). To '
        "start a new run from the student's weights, set load_from instead "
        'of resume.')


def _check_student(saved: dict[str, Any], distiller: PyramidDistiller) -> None:
    """Refuse to resume with another student: mmengine loads what fits and only
    logs the rest."""
    present = distiller.state_dict()
    saved = {key.removeprefix('module.'): value
             for key, value in saved.items()}
    for key in sorted(saved.keys() | present.keys()):
        sizes = [tuple(weights[key].shape) if key in weights else 'not there'
                 for weights in (present, saved)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f'model.student: {key} is {sizes[0]}, and in the run to be '
                f'resumed it was {sizes[1]}; accepted: the student that the '
                'run was started with, or load_from instead of resume.')


def remembering(cfg: Config) -> list[str]:
    """Names of the config's augmentations whose state is lost on resuming."""
    # A Runner that was not built from a config has an empty one.
    model = cfg.get('model')
    student = model.get('student') if isinstance(model, dict) else None
    names = {
        type_name(kind)
        for part in (cfg.get('train_dataloader'), cfg.get('custom_hooks'),
                     cfg.get('data_preprocessor'), student)
        for kind in settings_of(part, 'type')}
    return [name for name in REMEMBERING if name in names]


def keep_run_state(runner) -> None:
    """Register a :class:`RunStateHook` with a Runner that has none; called in a
    hook's ``before_run``."""
    if not any(isinstance(hook, RunStateHook) for hook in runner.hooks):
        runner.register_hook(RunStateHook())


def add_run_state_hook(cfg: Config) -> None:
    """Add a :class:`RunStateHook` to a distiller's config, unless it has one."""
    if is_distiller(cfg):
        cfg.default_hooks = dict(
            dict(run_state=dict(type='mmrlkd.RunStateHook')),
            **(cfg.get('default_hooks') or {}))


def _plain(value: Any) -> Any:
    """A value made of numbers, strings, tensors and containers of them only."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    if isinstance(value, str | int | float | bool | torch.Tensor | None):
        return value
    return str(value)
