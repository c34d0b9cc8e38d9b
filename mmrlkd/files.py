"""Reading checkpoint files without running what they hold.

A checkpoint is a pickle, and a pickle can name any function to be called while
it is read. torch refuses that with ``weights_only=True``; but mmengine 0.10.12
reads a file again without it where it holds anything unknown to torch, and
OpenMMLab's own files hold logs, configs and numpy numbers. So these types are
allowed here, one by one, and nothing else is.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

#: torch then reads with ``weights_only=True``, whatever its caller says.
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
        trust: read objects of any type, which may run any code.

    Raises:
        ValueError: the file is missing, is no checkpoint, or holds what could
            run code.
    """
    path = str(path)
    if '://' not in path and not os.path.isfile(path):
        raise ValueError(
            f'{owner}={path!r} is not a file; accepted: the path or address '
            'of a checkpoint.')
    try:
        with safe_loading(not trust):
            return _load(path)
    except UnpicklingError as error:
        held = _unsafe(error)
        if held is None:
            raise _unreadable(path, owner, error) from error
        section = owner.rpartition('.')[0]
        raise ValueError(
            f'{owner}={path!r} holds {held}, {_REFUSED}' + (
                f', or, if you trust its origin, {section}.'
                'trust_checkpoint=True.' if section else f'. {_REWRITE}')
        ) from error
    except Exception as error:
        raise _unreadable(path, owner, error) from error


@contextmanager
def no_code_from_files() -> Iterator[None]:
    """Inside, a run reads its checkpoints (``load_from``, ``resume``, an
    ``init_cfg`` of type Pretrained) as :func:`load_file` does.

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
    """Inside, ``torch.load`` knows OpenMMLab's harmless types and reads
    nothing else: not even for those who ask it to, such as mmengine's runner.

    Args:
        safe: False lets everything be read.
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
    """The name of what torch refused, None if the file is no pickle at all."""
    named = re.search(
        r'GLOBAL (\S+)|unrecognized function (.+?)(?: which|$)|'
        r'but got (<class .+?>)', str(error), re.MULTILINE)
    return named and next(filter(None, named.groups()))


def _harmless() -> list[Callable | tuple[Callable, str]]:
    """Types in the files that OpenMMLab publishes and its runner writes.

    To make one of them, none runs more than its own constructor. Names of
    modules that have moved are listed as old files have them.
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
    """What ``getattr`` is wanted for: the methods that a log refers to."""
    from mmengine.logging import HistoryBuffer
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise UnpicklingError(f'Unsupported global: GLOBAL {owner!r}.{name} ')
