"""A Runner among others in one process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmengine.visualization import Visualizer

#: What a Runner registers globally under its name.
_GLOBAL = (MMLogger, MessageHub, Visualizer, DefaultScope)


@contextmanager
def isolated_runner(cfg: Config, folder: Path) -> Iterator[Runner]:
    """A Runner that leaves nothing global behind, its output in a file.

    Args:
        cfg: of the run; its work dir and name are set here.
        folder: the work dir; what is printed goes to ``train.log`` there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # mmengine has no method to remove an instance, hence its private dicts.
    before = [dict(kind._instance_dict) for kind in _GLOBAL]
    try:
        with ((folder / 'train.log').open('w') as log,
              redirect_stdout(log), redirect_stderr(log)):
            # Another process has not read the config's file.
            import_modules_from_strings(
                **cfg.get('custom_imports') or dict(imports=[]))
            cfg.work_dir = str(folder)
            cfg.experiment_name = f'{folder.name}_{time.time_ns()}'
            yield Runner.from_cfg(cfg)
    finally:
        for kind, instances in zip(_GLOBAL, before, strict=True):
            kind._instance_dict.clear()
            kind._instance_dict.update(instances)
