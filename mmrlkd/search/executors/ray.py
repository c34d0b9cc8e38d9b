"""Evaluating candidates in parallel, as tasks of Ray."""

import importlib.util
import logging
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Any

from mmrlkd.arguments import check_integer, check_number
from mmrlkd.registry import EXECUTORS
from mmrlkd.search.recipe import Outcome, Recipe

from .base import Executor, attempt


@dataclass
class _Job:
    candidate: int
    recipe: Recipe
    deaths: int = 0
    start: float = 0.


@EXECUTORS.register_module()
class RayExecutor(Executor):
    """Evaluates each candidate as a Ray task, in another process.

    If the process of a candidate dies (killed, out of memory, ``os._exit``), the
    candidate is evaluated again. If the evaluation raises, it is not.

    If Ray is already initialised in this process, as for a search on a cluster,
    it is used and left running. Otherwise it is started on this machine for the
    first candidate, and stopped at the end.

    Args:
        workers: parallel candidates.
        retries: how often a candidate whose process died is evaluated again.
        cpus: cores that Ray reserves for each; also its number of threads,
            unless OMP_NUM_THREADS is set.
        gpus: GPUs that Ray reserves for each, e.g. 0.5 for two candidates on
            one GPU. With 0 a candidate sees no GPU.
    """

    def __init__(self, workers: int = 1, retries: int = 2, cpus: float = 1.,
                 gpus: float = 0.) -> None:
        super().__init__(workers)
        if importlib.util.find_spec('ray') is None:
            raise ModuleNotFoundError(
                "executor='ray' needs Ray, which is not installed: pip "
                "install mmrlkd[search], or set executor='local'.")
        self.retries = check_integer('RayExecutor', 'retries', retries, 0)
        self.cpus = check_number('RayExecutor', 'cpus', cpus, 0, open='low')
        self.gpus = check_number('RayExecutor', 'gpus', gpus, 0)
        self._queue: deque[_Job] = deque()
        self._running: dict[Any, _Job] = {}
        self._task: Any = None
        self._started = False

    def submit(self, candidate: int, recipe: Recipe) -> None:
        self._queue.append(_Job(candidate, recipe))
        self._fill()

    def collect(self) -> list[tuple[int, Outcome]]:
        import ray
        finished: list[tuple[int, Outcome]] = []
        while not finished:
            ready, _ = ray.wait(list(self._running))
            for reference in ready:
                job = self._running.pop(reference)
                outcome = self._result(reference, job)
                if outcome is not None:
                    finished.append((job.candidate, outcome))
            self._fill()
        return finished

    def close(self) -> None:
        self._queue.clear()
        if self._started:
            import ray
            ray.shutdown()
            self._started = False
        elif self._running:
            import ray
            for reference in self._running:
                ray.cancel(reference, force=True)
        self._running.clear()
        self._task = None

    def _fill(self) -> None:
        """Start queued candidates while workers are free."""
        while self._queue and len(self._running) < self.workers:
            if self._task is None:
                self._start()
            job = self._queue.popleft()
            job.start = job.start or time.perf_counter()
            self._running[self._task(job.recipe)] = job

    def _result(self, reference: Any, job: _Job) -> Outcome | None:
        """The outcome; None if the candidate is to be evaluated again."""
        import ray
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            # attempt() returns errors of the evaluation as outcomes; so this
            # one occurred while the candidate was sent. The last line of Ray's
            # traceback has its message.
            reason = (
                'The candidate could not be handed to a process of Ray: '
                f'{str(error).strip().splitlines()[-1]}')
        except ray.exceptions.RayError as error:
            job.deaths += 1
            if job.deaths <= self.retries:
                self._queue.appendleft(job)
                return None
            reason = (
                f'The process that evaluated the candidate died '
                f'{job.deaths} times, the last time with '
                f'{type(error).__name__}; RayExecutor(retries='
                f'{self.retries}) gives up.')
        return Outcome(
            score=None, images=0, seconds=time.perf_counter() - job.start,
            error=reason)

    def _start(self) -> None:
        # Read by Ray when it is imported, and by the processes it starts: send
        # no usage statistics, hide the GPUs from tasks that reserved none, and
        # do not lower the priority of the processes.
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
        os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '1')
        os.environ.setdefault('RAY_worker_niceness', '0')
        import ray
        if not ray.is_initialized():
            # 'local', because ray.init() would join a cluster that the
            # environment variable RAY_ADDRESS names.
            ray.init(
                address='local', num_cpus=ceil(self.workers * self.cpus),
                include_dashboard=False, log_to_driver=False,
                logging_level=logging.ERROR,
                # Modules in custom_imports may lie on this process's path only.
                runtime_env=dict(env_vars=dict(
                    PYTHONPATH=os.pathsep.join(filter(None, sys.path)))))
            self._started = True
        held = ray.cluster_resources()
        for key, resource, wanted in (('cpus', 'CPU', self.cpus),
                                      ('gpus', 'GPU', self.gpus)):
            if wanted > held.get(resource, 0):
                raise ValueError(
                    f'RayExecutor: {key}={wanted} for each candidate, but '
                    f'Ray has {held.get(resource, 0):g}; no candidate could '
                    'ever be evaluated.')
        remote = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus,
            # Ray retries without limit if a node is out of memory.
            max_retries=0)(attempt)
        evaluate = ray.put(self.evaluate)
        self._task = lambda recipe: remote.remote(evaluate, recipe)
