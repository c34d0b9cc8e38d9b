"""The processes of an experiment."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import IO

from mmengine.device import get_device

from .progress import Reporter
from .runs import ExperimentFailed, Job

#: Threads of each training. Fixed, because sums of floats depend on it: a
#: reader with other cores gets the same numbers. A small model gains little
#: from a second one; several trainings run side by side.
THREADS = 1
#: Seconds between looks at a task's log.
LOOK = 0.5
#: Lines of a failed task's log that are shown.
LOG_LINES = 20


@dataclass(frozen=True)
class Session:
    """What all processes of an experiment share.

    Attributes:
        tools: folder of ``train.py``, ``test.py`` and ``search.py``.
        lock: file whose lock the processes hold, too.
        reporter: told how far they are.
        stop: set when all of them are to end.
    """
    tools: Path
    lock: IO
    reporter: Reporter
    stop: Event = field(default_factory=Event)


def launch(task: Job, log: Path, command: list, session: Session) -> None:
    """Run a Python script, its output in a log.

    Args:
        task: what it works on.
        log: file to append to.
        command: script and arguments.
        session: of the experiment.

    Raises:
        ExperimentFailed: the script failed, or was ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, *map(str, command)]
    with log.open('ab') as output:
        output.write(f'\n$ {shlex.join(words)}\n'.encode())
        output.flush()
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT,
            pass_fds=[session.lock.fileno()], env=_environment(session))
    try:
        while process.poll() is None:
            if session.stop.is_set():
                raise ExperimentFailed(f'{task.name} was stopped.')
            session.reporter.update(task, task.newest())
            time.sleep(LOOK)
    finally:
        if process.poll() is None:  # this program is being stopped
            process.terminate()
            process.wait()
    if process.returncode:
        tail = log.read_text(errors='replace').splitlines()[-LOG_LINES:]
        raise ExperimentFailed('\n'.join([
            f'{task.name} failed with exit status {process.returncode}. The '
            f'end of {log}:', '', *tail, '',
            'Once the cause is removed, the same command continues.']))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def most_jobs(runs: int) -> int:
    """How many runs to train at a time: a GPU has one, a core each one."""
    return min(runs, cores()) if get_device() == 'cpu' else 1


def _environment(session: Session) -> dict[str, str]:
    """One number of threads, and ``projects`` to be found by configs."""
    root = str(session.tools.parent)
    paths = [root, os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'OMP_NUM_THREADS': str(THREADS),
            'MKL_NUM_THREADS': str(THREADS),
            'PYTHONPATH': os.pathsep.join(filter(None, paths))}


@contextmanager
def stoppable() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C, with the processes of the experiment, and say
    in a sentence that it can be continued."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command continues where this left off.')


@contextmanager
def locked(folder: Path) -> Iterator[IO]:
    """Hold a work dir, so that no two experiments train in it.

    Processes inherit the lock: one left behind by a killed experiment still
    holds it.

    Raises:
        ExperimentFailed: it is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExperimentFailed(
                f'{folder} is in use by another demo or comparison, or by a '
                'training that a killed one left behind; wait for it or end '
                'it, or name another folder with --work-dir.') from None
        yield file
