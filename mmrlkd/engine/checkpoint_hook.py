"""Checkpoints of a distilled student, and the sidecar that resuming needs."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.runner import find_latest_checkpoint

from mmrlkd.config.student import plain_student_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import HOOKS

from . import atomic


def sidecar_path(checkpoint: str | Path) -> Path:
    """``epoch_3.pth`` -> ``epoch_3.distill``, beside it."""
    return Path(checkpoint).with_suffix('.distill')


@HOOKS.register_module()
class DistillCheckpointHook(CheckpointHook):
    """mmengine's checkpoint hook for a student that is being distilled.

    - The checkpoint is the student's, with plain keys: its library loads it
      without this package. Both files load with ``weights_only=True``.
    - Connectors, policy, optimizer of the policy, unfinished rollouts and the
      logs' history go to a sidecar beside it, which resuming needs.
    - Every file is written atomically, the sidecar before its checkpoint,
      ``last_checkpoint`` after both, and an old checkpoint is removed only
      then; so a run killed at any moment resumes from a whole pair.

    Arguments are those of :class:`mmengine.hooks.CheckpointHook`.
    """

    best_ckpt_path: str | None  # the parent sets it for a single indicator

    def __init__(self, *args, backend_args: dict | None = None,
                 **kwargs) -> None:
        super().__init__(
            *args, backend_args=backend_args or dict(backend='mmrlkd_atomic'),
            **kwargs)

    # -- saving ------------------------------------------------------------

    def _save_checkpoint_with_step(self, runner, step: int,
                                   meta: dict) -> None:
        """Save one pair; mmengine's method, in an order that loses nothing."""
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir, name))
        expired = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                expired = self.keep_ckpt_ids[0]  # the deque drops it now
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info(
                'keep_ckpt_ids', list(self.keep_ckpt_ids))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)

        self._save_sidecar(runner, sidecar_path(self.last_ckpt))
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args)
        if not is_main_process():
            return
        atomic.write_atomically(
            Path(runner.work_dir, 'last_checkpoint'),
            self.last_ckpt.encode())
        if expired is not None:
            old = Path(self.out_dir, self.filename_tmpl.format(expired))
            old.unlink(missing_ok=True)
            sidecar_path(old).unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save the best, and only then remove the best before it."""
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            old = {'': self.best_ckpt_path}
            self.best_ckpt_path = None  # so that super() removes nothing
            super()._save_best_checkpoint(runner, metrics)
            self.best_ckpt_path = self.best_ckpt_path or old['']
            new = {'': self.best_ckpt_path}
        else:
            old = dict(self.best_ckpt_path_dict)
            self.best_ckpt_path_dict.update(dict.fromkeys(old))
            super()._save_best_checkpoint(runner, metrics)
            for key, path in old.items():
                self.best_ckpt_path_dict[key] = (
                    self.best_ckpt_path_dict[key] or path)
            new = self.best_ckpt_path_dict
        if is_main_process():
            for key, path in old.items():
                if path and path != new[key]:
                    Path(path).unlink(missing_ok=True)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Leave in the checkpoint what ``weights_only=True`` can load."""
        hub = checkpoint['message_hub']
        info = {key: _plain(value)
                for key, value in hub['runtime_info'].items()}
        checkpoint['message_hub'] = dict(
            log_scalars={}, runtime_info=info,
            resumed_keys={key: True for key in info})
        checkpoint['meta'] = _plain(checkpoint['meta'])
        # Inferencers read the one or the other.
        text = plain_student_config(runner.cfg).pretty_text
        checkpoint['meta']['cfg'] = text
        checkpoint['message_hub']['runtime_info']['cfg'] = text

    def _save_sidecar(self, runner, path: Path) -> None:
        distiller = _distiller(runner)
        if distiller is None:
            return
        local = all_gather_object(distiller.selector.local_state())
        if not is_main_process():
            return
        state = dict(
            iter=runner.iter,
            distiller=distiller.sidecar_state(),
            local=local,
            logs={
                key: [torch.as_tensor(np.asarray(part)) for part in value.data]
                for key, value in runner.message_hub.log_scalars.items()
                if len(value.data[0])
            })
        buffer = io.BytesIO()
        torch.save(state, buffer)
        atomic.write_atomically(path, buffer.getvalue())

    # -- resuming ----------------------------------------------------------

    def before_run(self, runner) -> None:
        """Before an automatic resume, point at the newest whole pair."""
        if not (runner._resume and runner._load_from is None):
            return
        latest = find_latest_checkpoint(runner.work_dir)
        if latest and Path(latest).is_file():
            return
        found = [path for path in Path(runner.work_dir).glob('*_*.pth')
                 if re.fullmatch(r'(epoch|iter)_\d+\.pth', path.name)]
        if found and is_main_process():
            newest = max(found, key=lambda path: int(path.stem.split('_')[1]))
            atomic.write_atomically(
                Path(runner.work_dir, 'last_checkpoint'),
                str(newest).encode())

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """When resuming, take the sidecar's part."""
        distiller = _distiller(runner)
        if not runner._resume or distiller is None:
            return
        path = sidecar_path(
            runner._load_from or find_latest_checkpoint(runner.work_dir))
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} is missing: resuming needs the sidecar written '
                'beside the checkpoint; to start a new run from the '
                "student's weights, set load_from instead of resume.")
        state = torch.load(path, map_location='cpu', weights_only=True)
        distiller.load_sidecar_state(state['distiller'])
        local = state['local']
        if len(local) == get_world_size():
            distiller.selector.load_local_state(local[get_rank()])
        else:
            runner.logger.warning(
                f'The run was saved by {len(local)} processes: their '
                'unfinished rollouts are dropped.')
        for key, (values, counts) in state['logs'].items():
            runner.message_hub.log_scalars[key] = HistoryBuffer(
                values.tolist(), counts.tolist())


def _distiller(runner) -> PyramidDistiller | None:
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    return model if isinstance(model, PyramidDistiller) else None


def _plain(value: Any) -> Any:
    """Numbers, strings, tensors and containers of them, nothing else."""
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
