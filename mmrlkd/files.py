"""Reading checkpoint files without running code from them.

A checkpoint is a pickle, and unpickling can call any function that the file
names. ``torch.load(weights_only=True)`` refuses that. But OpenMMLab's own files
hold logs, configs and numpy numbers, which torch refuses as well, and mmengine
0.10.12 then reads the file without the protection. Here these harmless types
are allowed, and nothing else.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

#: If this is set, ``torch.load`` uses ``weights_only=True`` whatever its caller
#: passes.
_FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'

_REFUSED = ('which could run code while it is read, and is not read; accepted: '
            "tensors, numbers and OpenMMLab's logs and configs")
_REWRITE = ('If you trust its origin, save its weights alone: torch.save('
            "torch.load(path, weights_only=False)['state_dict'], new).")


def load_file(path: str | Path, owner: str = 'checkpoint', *,
              trust: bool = False) -> Any:
    """What a checkpoint holds, on the CPU.

    Args:
        path: a file of ``torch.save`` or of safetensors, or an address that
            mmengine can load: ``https://…``, ``open-mmlab://…``,
            ``torchvision://…``.
        owner: config key of the path, for messages.
        trust: read objects of any type, **which may run any code**.

    Raises:
        ValueError: the file is missing, is no checkpoint, or holds what could
            run code.
    """
    path = str(path)
    if '://' not in path and not os.path.isfile(path):
        raise ValueError(
            f'{owner}={path!r}{relative_to(path)} is not a file; accepted: the path '
            'or address of a checkpoint.')
    try:
        with safe_loading(not trust):
            return _load(path)
    except UnpicklingError as error:
        held = _unsafe(error)
        if held is None:
            raise _unreadable(path, owner, error) from error
        raise ValueError(
            f'{owner}={path!r} holds {held}, {_REFUSED}' + (
                ', or, if you trust its origin, teacher.trust_checkpoint=True.'
                if owner == 'teacher.checkpoint' else f'. {_REWRITE}')
        ) from error
    except Exception as error:
        raise _unreadable(path, owner, error) from error


def relative_to(path: str | Path) -> str:
    """For messages: the folder that a relative path is relative to."""
    return '' if os.path.isabs(path) else f' (relative to {Path.cwd()})'


def digest(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


@contextmanager
def no_code_from_files() -> Iterator[None]:
    """Inside this block, a run reads its checkpoints (``load_from``, ``resume``,
    an ``init_cfg`` of type Pretrained) as :func:`load_file` does.

    Raises:
        ValueError: one of them holds what could run code.
    """
    try:
        with safe_loading():
            yield
    except UnpicklingError as error:
        held = _unsafe(error)
        if held is None:
            raise
        raise ValueError(
            'A checkpoint that the run reads (load_from, resume or an '
            f'init_cfg of type Pretrained) holds {held}, {_REFUSED}. '
            f'{_REWRITE}') from error


@contextmanager
def safe_loading(safe: bool = True) -> Iterator[None]:
    """Inside this block, ``torch.load`` reads tensors, numbers and OpenMMLab's
    harmless types only, also where its caller passes ``weights_only=False``, as
    mmengine's Runner does.

    Args:
        safe: False allows everything.
    """
    import torch
    before = os.environ.pop(_FORCE, None)
    if safe:
        os.environ[_FORCE] = '1'
    try:
        with torch.serialization.safe_globals(_harmless()):
            yield
    finally:
        os.environ.pop(_FORCE, None)
        if before is not None:
            os.environ[_FORCE] = before


def _load(path: str) -> Any:
    import torch
    from mmengine.runner.checkpoint import CheckpointLoader
    if '://' in path:
        return CheckpointLoader.load_checkpoint(path, 'cpu')
    weights_only = os.environ.get(_FORCE) == '1'
    return torch.load(path, map_location='cpu', weights_only=weights_only)


def _unreadable(path: str, owner: str, error: Exception) -> ValueError:
    return ValueError(
        f'{owner}={path!r} cannot be read ({error}); accepted: a checkpoint '
        'saved by torch.save or safetensors.')


def _unsafe(error: Exception) -> str | None:
    """The name of what torch refused; None if the file is not a pickle."""
    # torch has no attribute for it; these are the three forms of its message.
    named = re.search(
        r'GLOBAL (\S+)|unrecognized function (.+?)(?: which|$)|'
        r'but got (<class .+?>)', str(error), re.MULTILINE)
    return named and next(filter(None, named.groups()))


def _harmless() -> list[Callable | tuple[Callable, str]]:
    """Types in the files that OpenMMLab publishes and its Runner writes.

    Unpickling one of them runs its constructor and nothing else. A tuple gives
    the name that older files have for a type that has moved.
    """
    from argparse import Namespace
    from collections import deque

    import numpy as np
    from mmengine.config import Config, ConfigDict
    from mmengine.logging import HistoryBuffer
    from numpy._core import multiarray

    moved: list[tuple[Callable, str]] = [
        (getattr(multiarray, name), f'numpy.{core}.multiarray.{name}')
        for name in ('_reconstruct', 'scalar') for core in ('core', '_core')]
    return [
        np.ndarray, np.dtype, *(type(np.dtype(code)) for code in '?bBhHiIlLqQefd'),
        *moved, set, slice, deque, Namespace, Config, ConfigDict, HistoryBuffer,
        (ConfigDict, 'mmcv.utils.config.ConfigDict'),
        (Config, 'mmcv.utils.config.Config'),
        (_statistic, 'builtins.getattr'),
    ]


def _statistic(owner: Any, name: str) -> Any:
    """``getattr`` for the methods that a pickled HistoryBuffer refers to, and
    for nothing else."""
    from mmengine.logging import HistoryBuffer
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise UnpicklingError(f'Unsupported global: GLOBAL {owner!r}.{name} ')
