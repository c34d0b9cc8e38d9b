"""Worker processes that train one model after another.

Importing the libraries takes longer than some of these trainings do; a worker
imports them once.
"""

import gc
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from mmrlkd.engine.isolated import isolated_runner

from .processes import THREADS


class Training(NamedTuple):
    """A model to train.

    Attributes:
        key: anything that tells it from others.
        make: gives its config, complete, when its turn comes.
        folder: takes the logs, ``train.log`` among them; emptied before.
    """
    key: Any
    make: Callable[[], Config]
    folder: Path


def without_checkpoints(cfg: Config) -> None:
    """Change a config so that it writes logs only: a training of a minute is begun
    anew rather than resumed."""
    cfg.resume, cfg.load_from = False, None
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.run_state = dict(type='mmrlkd.RunStateHook')
    cfg.visualizer = dict(
        type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])


def train_here(cfg: dict[str, Any], folder: Path) -> None:
    """Train and evaluate a model in this process; see the folder's logs."""
    shutil.rmtree(folder, ignore_errors=True)
    runner = None
    try:
        with isolated_runner(Config(cfg), folder) as runner:
            runner.train()
    finally:
        del runner
        gc.collect()  # a Runner and its hooks refer to each other


def train_many(trainings: Iterable[Training],
               jobs: int) -> Iterator[tuple[Training, Exception | None]]:
    """Train models in worker processes, ``jobs`` at a time.

    Args:
        trainings: begun in this order.
        jobs: number of processes, each of
            :data:`~projects.experiments.processes.THREADS` threads.

    Yields:
        Each as it ends, with its error if it failed.
    """
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
        os.environ[name] = str(THREADS)  # before a worker imports torch
    waiting = iter(trainings)
    running: dict[Future, Training] = {}
    with ProcessPoolExecutor(
            jobs, get_context('spawn'), _start_worker) as pool:
        try:
            while True:
                for training in islice(waiting, jobs - len(running)):
                    cfg = training.make().to_dict()
                    running[pool.submit(
                        train_here, cfg, training.folder)] = training
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if error is not None and not isinstance(error, Exception):
                        raise error
                    yield running.pop(future), error
        finally:
            if running:  # this program is being stopped
                for process in (pool._processes or {}).values():
                    process.terminate()


def _start_worker() -> None:
    torch.set_num_threads(THREADS)
    # A Runner writes its config down; formatting it by yapf takes seconds.
    Config.pretty_text = property(  # type: ignore[assignment]
        lambda cfg: '\n'.join(f'{key} = {value!r}'
                              for key, value in cfg.to_dict().items()))
