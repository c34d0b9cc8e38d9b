"""The rows of a profile's table: checks, and tensors of images and settings."""

from collections.abc import Sequence
from typing import Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from .settings import SettingSpace

Kind = Literal['complete', 'log']


class Rows:
    """The rows of a file, each with its cell (image, setting): N images, S
    settings.

    Args:
        path: of the file, for messages.
        table: its columns.
        space: the settings.
        kind: of the table.

    Raises:
        ValueError: a row is missing, doubled or impossible.
    """

    def __init__(self, path: str, table: pa.Table, space: SettingSpace,
                 kind: Kind) -> None:
        self.path, self.table = path, table
        if not len(table):
            self.refuse('no rows', 'at least one image')
        image = self.numbers('image')
        self.ids, self.first, self.image = np.unique(
            image, return_index=True, return_inverse=True)
        self.shape = len(self.ids), len(space)
        self.setting = np.zeros(len(table), np.int64)
        for knob in space.knobs:
            self.setting = self.setting * len(knob.values) + self.choices(
                knob.name, knob.values)
        cell, count = np.unique(
            self.image * len(space) + self.setting, return_counts=True)
        if (count > 1).any():
            i, s = divmod(int(cell[count > 1][0]), len(space))
            self.refuse(f'the image {self.ids[i]} twice in the setting '
                        f'{space.describe(s)}', 'each setting once')
        of_image = np.bincount(self.image)
        wanted = len(space) if kind == 'complete' else 1
        if (of_image != wanted).any():
            i = int((of_image != wanted).argmax())
            self.refuse(
                f'{of_image[i]} of {len(space)} settings of the image '
                f'{self.ids[i]}', 'all settings of each image in a table of kind '
                "'complete', one in a 'log'")
        self._check_values(kind)

    def _check_values(self, kind: Kind) -> None:
        latency, quality = self.numbers('latency_ms'), self.numbers('quality')
        self.check('latency_ms', latency, latency > 0, 'finite numbers > 0')
        self.check('quality', quality, (quality >= 0) & (quality <= 1),
                   'numbers in [0, 1]')
        if self.has('single_ms'):
            single = self.numbers('single_ms')
            self.check('single_ms', single, single > 0, 'finite numbers > 0')
        if kind == 'log':
            chance = self.numbers('propensity')
            self.check('propensity', chance, (chance > 0) & (chance <= 1),
                       'numbers in (0, 1]')

    def refuse(self, has: str, accepted: str) -> NoReturn:
        raise ValueError(f'{self.path} has {has}; accepted: {accepted}.')

    def check(self, column: str, values: np.ndarray, good: np.ndarray,
              accepted: str) -> None:
        bad = ~(good & np.isfinite(values))
        if bad.any():
            row = int(bad.argmax())
            self.refuse(f'{column}={values[row]} for the image '
                        f'{self.ids[self.image[row]]}', accepted)

    def has(self, column: str) -> bool:
        """Whether a column has numbers."""
        return (column in self.table.column_names
                and self.table[column].null_count < len(self.table))

    def numbers(self, column: str) -> np.ndarray:
        """A column of numbers; null is NaN, and no image."""
        held = self.table[column]
        index = column == 'image'
        fits = (pa.types.is_integer(held.type) and not held.null_count if index
                else pa.types.is_integer(held.type)
                or pa.types.is_floating(held.type))
        if not fits:
            self.refuse(
                f'a column {column} of type {held.type} with {held.null_count} '
                'nulls', 'integers without null' if index else 'numbers')
        return held.to_numpy().astype(np.int64 if index else np.float64)

    def choices(self, column: str, values: Sequence[Any]) -> np.ndarray:
        """(rows,) index of each row's value among those of a knob."""
        places = {value: place for place, value in enumerate(values)}
        distinct = self.table[column].unique().to_pylist()
        for value in distinct:
            if value not in places:
                self.refuse(f'{column}={value!r}', f'the values of this knob, '
                            f'{", ".join(map(repr, values))}')
        column_values = self.table[column].to_pylist()
        return np.array([places[value] for value in column_values])

    def cells(self, column: str) -> Tensor:
        """(N, S) of a column; NaN where there is no row."""
        cells = np.full(self.shape, np.nan, np.float32)
        cells[self.image, self.setting] = self.numbers(column)
        return torch.from_numpy(cells)

    def measured(self) -> Tensor:
        """(N, S) bool."""
        cells = np.zeros(self.shape, bool)
        cells[self.image, self.setting] = True
        return torch.from_numpy(cells)

    def vectors(self, column: str, required: bool = False) -> Tensor:
        """(N, F) of a column of lists, one of each image; without any, (N, 0) or
        an error."""
        if not self.has(column):
            if required:
                self.refuse(f'no {column}', 'one in a row of each image')
            return torch.zeros(self.shape[0], 0)
        held = self.table[column]
        row = np.flatnonzero(~np.asarray(held.is_null()))
        images, first = np.unique(self.image[row], return_index=True)
        if len(images) < self.shape[0]:
            lacks = np.setdiff1d(np.arange(self.shape[0]), images)[0]
            self.refuse(f'no {column} of the image {self.ids[lacks]}',
                        'one in a row of each image')
        lists = held.take(pa.array(row[first])).to_pylist()
        widths = {len(each) for each in lists}
        if len(widths) > 1:
            self.refuse(f'{column} of {sorted(widths)} numbers',
                        'as many for each image')
        vectors = torch.tensor(lists, dtype=torch.float32)
        if not vectors.isfinite().all():
            worst = int((~vectors.isfinite()).any(1).nonzero()[0, 0])
            self.refuse(f'a {column} that is not finite, of the image '
                        f'{self.ids[worst]}', 'finite numbers')
        return vectors

    def texts(self, column: str) -> list[Any]:
        """(N,) of a column, from the first row of each image."""
        return self.table[column].take(pa.array(self.first)).to_pylist()

    def names(self) -> tuple[str, ...]:
        """(N,) name of each image, by default its index."""
        given = (self.texts('image_id') if 'image_id' in self.table.column_names
                 else [None] * len(self.ids))
        return tuple(str(index) if name is None else str(name)
                     for index, name in zip(self.ids, given, strict=True))

    def strata(self) -> tuple[str, ...]:
        """(N,) stratum of each image."""
        if 'difficulty' not in self.table.column_names:
            return ('', ) * len(self.ids)
        return tuple('' if each is None else str(each)
                     for each in self.texts('difficulty'))
