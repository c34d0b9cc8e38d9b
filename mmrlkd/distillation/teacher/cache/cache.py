"""The cache of one teacher's maps."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from pathlib import Path

import torch
from torch import Tensor, nn

from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.teacher.execution import Execution

from .entries import pack, shorten, unpack
from .keys import hash_images, hash_model
from .settings import CacheSettings
from .store import Store, open_store


@dataclass
class Counts:
    """Maps that were asked for, and those of them that the cache had."""
    asked: int = 0
    found: int = 0

    def __add__(self, other: 'Counts') -> 'Counts':
        return Counts(self.asked + other.asked, self.found + other.found)


@dataclass(frozen=True)
class Outlook:
    """How large a cache would get.

    Attributes:
        image: bytes of all levels of an image.
        needed: bytes of all levels of all images, once.
        limit: bytes that the settings allow.
        free: bytes that the disk has.
    """
    image: int
    needed: int
    limit: int
    free: int


class TeacherCache:
    """Keeps what a teacher computed for each image, in a file on the disk.

    Args:
        settings: of the config.
        config: of the teacher.

    Attributes:
        counts: since they were last taken, see :meth:`take_counts`.
    """

    def __init__(self, settings: CacheSettings, config: Mapping) -> None:
        self.settings = settings
        self.counts = Counts()
        self._config = config
        self._model: bytes | None = None

    @cached_property
    def store(self) -> Store:
        """Opened by the process that first uses it."""
        return open_store(self.settings.path, self.settings.size_gb)

    def entries(self, model: nn.Module, execution: Execution,
                images: Tensor) -> 'BatchEntries':
        """The entries of a batch.

        Args:
            model: the teacher, prepared.
            execution: how it is run.
            images: (B, 3, H, W), preprocessed.
        """
        if self._model is None:
            # A stream changes when it runs, and not what it computes.
            self._model = hash_model(
                model, (self._config, replace(execution, stream=False)))
        return BatchEntries(
            self.store, hash_images(images, self._model),
            self.settings.dtype == 'exact', images.device, self.counts)

    def take_counts(self) -> Counts:
        """The counts since the last call."""
        taken = Counts(self.counts.asked, self.counts.found)
        self.counts.asked = self.counts.found = 0
        return taken

    def outlook(self, levels: Sequence[Level], images: int,
                size: tuple[int, int]) -> Outlook:
        """How large the cache would get, against the disk.

        Args:
            levels: that may be selected.
            images: of the data set.
            size: (H, W) of an image, padded.
        """
        image = bytes_of(levels, size, self.settings.dtype)
        return Outlook(image, image * images, int(self.settings.size_gb * 1e9),
                       shutil.disk_usage(existing(self.settings.path)).free)


@dataclass(frozen=True)
class BatchEntries:
    """The entries of B images, by name: a level's, ``'logits'``, ``'scores'``.

    Attributes:
        store: where they lie.
        keys: B hashes.
        exact: whether maps are stored as they are.
        device: on which tensors are given back.
        counts: of the cache.
        seen: names and images that were asked for before.
    """
    store: Store
    keys: Sequence[bytes]
    exact: bool
    device: torch.device
    counts: Counts
    seen: set[tuple[str, int]] = field(default_factory=set)

    def lacking(self, names: Sequence[str]) -> list[int]:
        """The images that have an entry of none of the names."""
        held = self.store.contains(
            [_key(key, name) for key in self.keys for name in names])
        return [row for row in range(len(self.keys)) if not any(
            held[row * len(names):(row + 1) * len(names)])]

    def read(self, name: str,
             rows: Sequence[int]) -> tuple[list[int], list[Tensor]]:
        """What the store has of some images.

        Returns:
            Those of ``rows`` that it has, and their tensors (n, …).
        """
        keys = [_key(self.keys[row], name) for row in rows]
        found: dict[int, list[Tensor]] = {}
        for row, key, entry in zip(
                rows, keys, self.store.read(keys), strict=True):
            tensors = None if entry is None else unpack(key, entry)
            if tensors is not None:
                found[row] = tensors
            elif entry is not None:
                self.store.report_damaged(key)
        first = [row for row in rows if (name, row) not in self.seen]
        self.seen.update((name, row) for row in first)
        self.counts.asked += len(first)
        self.counts.found += sum(row in found for row in first)
        return list(found), [
            torch.stack(each).to(self.device, non_blocking=True)
            for each in zip(*found.values(), strict=True)]

    def write(self, name: str, rows: Sequence[int], tensors: Sequence[Tensor],
              exact: bool = False) -> list[Tensor]:
        """Add what was computed for some images.

        Args:
            name: of the entries.
            rows: n images.
            tensors: (n, …).
            exact: store them as they are, whatever the settings say.

        Returns:
            The tensors as :meth:`read` will give them.
        """
        exact = exact or self.exact
        stored = [each if exact else shorten(each) for each in tensors]
        dtypes = [each.dtype for each in tensors]
        if self.store.writable:
            on_host = [each.cpu() for each in stored]
            for i, row in enumerate(rows):
                key = _key(self.keys[row], name)
                self.store.write(
                    key, pack(key, [each[i] for each in on_host], dtypes))
        return [each.to(dtype)
                for each, dtype in zip(stored, dtypes, strict=True)]


def bytes_of(levels: Sequence[Level], size: tuple[int, int],
             dtype: str) -> int:
    """Bytes of an image's maps, without the keys.

    Args:
        levels: the teacher's.
        size: (H, W) of the image, padded.
        dtype: of :class:`.settings.CacheSettings`; exact maps are float32.
    """
    return sum(
        level.channels * ceil(size[0] / level.stride)
        * ceil(size[1] / level.stride) for level in levels) * (
            4 if dtype == 'exact' else 2)


def existing(path: Path) -> Path:
    """The path, or the nearest of its parents that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents)
                if each.exists())


def _key(image: bytes, name: str) -> bytes:
    return image + name.encode()
