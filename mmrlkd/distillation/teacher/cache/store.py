"""Bytes by key in an LMDB file, which many processes read and write."""

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import print_log

from . import walk

if TYPE_CHECKING:
    import lmdb

#: Bytes that wait in memory until they are written together.
_TOGETHER = 2**26
#: Seconds after which the check of a file is given up.
_PATIENCE = 600

#: The stores that this process has opened: LMDB allows a file to be opened
#: once, and no child may use its parent's.
_OPENED: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def open_store(path: Path, size_gb: float) -> 'Store':
    """The store of a folder; one object for each folder in this process."""
    key = (os.getpid(), os.path.realpath(path))
    store = _OPENED.get(key)
    if store is None:
        store = _OPENED[key] = Store(path, size_gb)
    return store


class Store:
    """Entries in an LMDB file; none is ever changed or deleted.

    Whatever is wrong with the file is said once, in a warning: then nothing is
    found any more, or nothing is added. Writing waits for the disk (no option
    of LMDB that gives up its safety is set), so entries are collected and
    written :data:`_TOGETHER`; those of a killed process are lost.

    Args:
        path: folder, made if needed.
        size_gb: largest size of the file, in 10⁹ bytes.

    Attributes:
        readable: whether entries are found.
        writable: whether entries are added.
    """

    def __init__(self, path: Path, size_gb: float) -> None:
        self.path = path
        self._size_gb = size_gb
        self._waiting: dict[bytes, bytes] = {}
        self._waiting_bytes = 0
        self._damaged: set[bytes] = set()
        self._env: lmdb.Environment | None = None
        self.readable = self.writable = False
        problem = self._open()
        if problem:
            self._warn(problem, 'The training goes on without it.')
        weakref.finalize(self, _close, os.getpid(), self._env, self._waiting)

    def _open(self) -> str:
        """Why the file cannot be used; empty if it can."""
        import lmdb
        size = int(self._size_gb * 1e9) // 4096 * 4096
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            problem = _check(self.path)
            if problem:
                return problem
            # It reads ahead (LMDB's default): a map lies on pages one after another.
            self._env = lmdb.open(
                str(self.path), map_size=max(size, 2**16), max_readers=512,
                metasync=True, sync=True)
            self._env.reader_check()
            with self._begin(write=True) as txn:
                txn.put(walk.MARK, b'1', overwrite=False)
        except (OSError, lmdb.Error) as error:
            self._env = None
            return f'cannot be used ({error})'
        self.readable = self.writable = True
        return ''

    def contains(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether there is an entry of each key."""
        found = [key in self._waiting for key in keys]
        with self._guard('read'):
            if self.readable:
                with self._begin() as txn:
                    cursor = txn.cursor()
                    found = [known or cursor.set_key(key)
                             for known, key in zip(found, keys, strict=True)]
        return found

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The entry of each key; None where there is none."""
        found = [self._waiting.get(key) for key in keys]
        with self._guard('read'):
            if self.readable:
                with self._begin() as txn:
                    found = [_bytes(txn.get(key)) if known is None else known
                             for known, key in zip(found, keys, strict=True)]
        return found

    def report_damaged(self, key: bytes) -> None:
        """Have an entry replaced when it is written the next time."""
        self._damaged.add(key)

    def write(self, key: bytes, entry: bytes) -> None:
        """Add an entry; on the disk after the next :meth:`flush`."""
        if self.writable:
            self._waiting[key] = entry
            self._waiting_bytes += len(entry)
            if self._waiting_bytes > _TOGETHER:
                self.flush()

    def flush(self) -> None:
        """Write what waits to the disk."""
        import lmdb
        if not (self._waiting and self.writable):
            return
        try:
            with self._guard('written'):
                with self._begin(write=True) as txn:
                    for key, entry in self._waiting.items():
                        txn.put(key, entry, overwrite=key in self._damaged)
                self._damaged -= set(self._waiting)
        except lmdb.MapFullError:
            self.writable = False
            self._warn(
                f'is full (size_gb={self._size_gb:g})',
                'What is in it is used; nothing is added. A larger size_gb, or '
                'a folder without the maps of other teachers, has room.')
        self._waiting.clear()
        self._waiting_bytes = 0

    @contextmanager
    def _begin(self, write: bool = False) -> Iterator['lmdb.Transaction']:
        import lmdb
        assert self._env is not None
        try:
            txn = self._env.begin(write=write)
        except lmdb.MapResizedError:  # by a process with a larger size_gb
            self._env.set_mapsize(0)
            txn = self._env.begin(write=write)
        with txn:
            yield txn

    @contextmanager
    def _guard(self, done: str) -> Iterator[None]:
        """Give up what fails instead of the training."""
        import lmdb
        try:
            yield
        except lmdb.MapFullError:
            raise
        except (OSError, lmdb.Error) as error:
            self.writable = False
            self.readable = self.readable and done == 'written'
            self._warn(f'cannot be {done} ({error})',
                       'The training goes on ' + (
                           'with what is in it; nothing is added.'
                           if self.readable else 'without it.'))

    def _warn(self, problem: str, consequence: str) -> None:
        print_log(f'teacher.cache: {self.path} {problem}. {consequence}',
                  'current', WARNING)


def _bytes(value: object) -> bytes | None:
    """What a transaction without ``buffers`` gives is bytes."""
    return value if isinstance(value, bytes) else None


def _check(path: Path) -> str:
    """Why a folder's file must not be opened; empty if it may be, or if there
    is none yet."""
    file = path / 'data.mdb'
    if not file.exists():
        others = sorted(each.name for each in path.iterdir()
                        if each.name != 'lock.mdb')
        return (f'holds {others[0]!r} and no cache; a folder of its own is '
                'needed' if others else '')
    try:
        done = subprocess.run(
            [sys.executable, '-P', walk.__file__, str(path)],
            capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f'could not be checked in {_PATIENCE} s'
    if done.returncode == 0:
        return ''
    said = done.stderr.strip().rpartition('\n')[2] if done.returncode > 0 else ''
    return f'{said or "holds a damaged file"}; remove the folder to begin anew'


def _close(pid: int, env: 'lmdb.Environment | None',
           waiting: dict[bytes, bytes]) -> None:
    """Write what waits when a store is not used any more."""
    import lmdb
    if env is None or pid != os.getpid():
        return
    try:
        with env.begin(write=True) as txn:
            for key, entry in waiting.items():
                txn.put(key, entry, overwrite=False)
    except (OSError, lmdb.Error):
        pass  # nobody is left who could be told
    env.close()
