"""Checkpoints that are written whole or not at all."""

import re
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import find_latest_checkpoint

from mmrlkd.registry import HOOKS

from . import atomic
from .run_state_hook import RunStateHook, keep_run_state
from .teacher_cache_hook import report_cache


@HOOKS.register_module()
class DistillCheckpointHook(CheckpointHook):
    """mmengine's checkpoint hook, for runs that may be killed at any moment.

    Every file is written atomically, then ``last_checkpoint``, and only then an
    old checkpoint is removed. So there is always a whole file to resume from.
    :class:`.RunStateHook`, which is registered if the config has none, adds what
    resuming needs; with this hook, of all ranks.

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
        """mmengine's method in another order: it removes the old checkpoint
        before it saves the new one."""
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir, name))
        expired = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                expired = self.keep_ckpt_ids[0]  # append() drops it
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info(
                'keep_ckpt_ids', list(self.keep_ckpt_ids))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)

        for hook in runner.hooks:
            if isinstance(hook, RunStateHook) and self.save_optimizer:
                hook.gather(runner)
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
            # Version 0.1 wrote a second file.
            old.with_suffix('.distill').unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save the new best checkpoint, and only then remove the old one."""
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            old = {'': self.best_ckpt_path}
            # Without a path mmengine's method removes no file.
            self.best_ckpt_path = None
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

    # -- resuming ----------------------------------------------------------

    def before_run(self, runner) -> None:
        """Before an automatic resume, let ``last_checkpoint`` name a file: a run
        killed between a checkpoint and this file leaves it missing."""
        keep_run_state(runner)
        report_cache(runner)
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
