"""How far an experiment is, for whoever watches."""

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from .logs import Record
from .runs import Job

#: Seconds between lines about a task.
SPEAK = 30


class Reporter:
    """Says how far a task is: a bar on a terminal, otherwise lines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn('{task.description}'), BarColumn(),
            MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn('{task.fields[note]}'), console=console,
            disable=not console.is_terminal)
        self._tasks: dict[Job, TaskID] = {}
        self._spoke: dict[Job, float] = {}
        self._said: dict[Job, str] = {}

    def __enter__(self) -> 'Reporter':
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def begin(self, task: Job) -> None:
        """A task starts, or goes on."""
        self._tasks[task] = self._progress.add_task(
            task.name, total=task.iterations, note='starting')
        self._spoke[task] = time.monotonic()
        self._line(f'{task.name}: ' + (
            f'{task.iterations} iterations' if task.iterations else 'begins'))

    def update(self, task: Job, record: Record | None) -> None:
        """The newest record of its log."""
        if record is None:
            return
        done, total = int(record['iter']), task.iterations
        notes = [f'{key} {record[key]:.3f}' for key in ('loss', 'score')
                 if key in record]
        if total:
            notes.append(
                'evaluating' if done >= total else
                duration(record['time'] * (total - done)) + ' left')
        note = ', '.join(notes)
        self._progress.update(self._tasks[task], completed=done, note=note)
        if (time.monotonic() - self._spoke[task] >= SPEAK
                and note != self._said.get(task)):
            self._spoke[task], self._said[task] = time.monotonic(), note
            self._line(f'{task.name}: {done}' + (
                f'/{total}' if total else '') + (f', {note}' if note else ''))

    def end(self, task: Job, note: str) -> None:
        """The task is finished."""
        if task in self._tasks:
            self._progress.remove_task(self._tasks.pop(task))
        else:
            note += ', finished before'
        self.console.print(f'{task.name}: {note}')

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text)


def duration(seconds: float) -> str:
    """``'1:05'``: minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes}:{seconds:02d}'
