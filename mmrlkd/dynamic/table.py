"""The table of a profile: what every setting costs and is worth on every image.

One Parquet file, one row for each pair of image and setting, with the columns

=============  ===================  ===============================================
column         type                 meaning
=============  ===================  ===============================================
image          int64                index of the image in the calibration set
image_id       string               its name, optional
<knob>         as the knob's        for each knob, its value in this row
               values
latency_ms     float64              median of the repeats, one image at a time
single_ms      float64              one of the repeats; optional
quality        float32              of the prediction, in [0, 1]
difficulty     string, may be null  a stratum of the images, such as the number of
                                    objects; optional
log_prob       float32, may be      of the true class, for classifiers; optional
               null
propensity     float32              in a log only: the probability with which the
                                    logging policy chose this setting
feature        list of float32      of the image; in one row of each image, null in
                                    the others
context        list of float32      likewise, optional
=============  ===================  ===============================================

A *complete* table has every setting of every image. A *log* has one row for each
image, with the setting that some policy chose at random, and its propensity.
What can be learned from the two differs, so whoever reads a table says which of
them it is.

The file's metadata hold a :class:`TableHeader` in JSON, under the key ``mmrlkd``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mmrlkd.arguments import check_choice
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.files import relative_to

from .settings import SettingSpace
from .table_rows import Kind, Rows

#: Number of the format, in each header.
VERSION = 1
KINDS = ('complete', 'log')
_KEY = b'mmrlkd'
_REQUIRED = ('image', 'latency_ms', 'quality', 'feature')


@dataclass(frozen=True)
class TableHeader:
    """What a table is of.

    Attributes:
        kind: ``'complete'`` or ``'log'``.
        knobs: of each knob its name and values, see
            :meth:`~.settings.SettingSpace.header`.
        quality: name of the measure.
        machine: platform, processor, threads, version of torch, device.
        config: path of the model's config.
        model: SHA-256 of its checkpoint, in hex.
        feature: where the image feature comes from, e.g. its stage; ``ms``, what
            computing it adds to a run that cannot continue from there, and
            ``deciding_ms``, what pooling and choosing add to all.
        repeats: measurements of each latency.
        image_size: (height, width) of the images in px, None if they differ.
    """
    kind: Kind
    knobs: Sequence[dict[str, Any]]
    quality: str = 'quality'
    machine: Mapping[str, Any] = field(default_factory=dict)
    config: str = ''
    model: str = ''
    feature: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 1
    image_size: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_choice('TableHeader', 'kind', self.kind, KINDS)


@dataclass(frozen=True, eq=False)
class ProfileTable:
    """A checked table as tensors: N images, S settings in the order of ``space``.

    In a log, the numbers of what was not chosen are NaN.

    Attributes:
        header: what it is of.
        space: the settings.
        images: (N,), name of each image.
        latency: (N, S) in ms.
        single: (N, S) in ms, of a single run, or None: ``latency`` may be a median
            of several.
        quality: (N, S), in [0, 1].
        features: (N, F).
        context: (N, C); C is 0 where there is none.
        difficulty: (N,), stratum of each image; empty strings without strata.
        measured: (N, S) bool, whether a cell has numbers.
        propensity: (N, S), of what was chosen; None in a complete table.
    """
    header: TableHeader
    space: SettingSpace
    images: tuple[str, ...]
    latency: Tensor
    quality: Tensor
    features: Tensor
    context: Tensor
    difficulty: tuple[str, ...]
    measured: Tensor
    propensity: Tensor | None = None
    single: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def read(cls, path: str | Path, kind: Kind,
             knobs: Sequence[dict[str, Any]] | None = None) -> Self:
        """Read and check a file.

        Args:
            path: of the Parquet file.
            kind: which of the two it is.
            knobs: see :class:`TableHeader`; needed for a file without header, and
                otherwise what its header must say.

        Raises:
            ValueError: it is no table, not of this kind or of other knobs, or a
                row is missing, doubled or impossible.
        """
        check_choice('ProfileTable.read', 'kind', kind, KINDS)
        table, header = _open(Path(path), kind, knobs)
        space = SettingSpace.from_header(header.knobs)
        rows = Rows(str(path), table, space, kind)
        return cls(
            header=header, space=space, images=rows.names(),
            latency=rows.cells('latency_ms'), quality=rows.cells('quality'),
            features=rows.vectors('feature', required=True),
            context=rows.vectors('context'),
            difficulty=rows.strata(), measured=rows.measured(),
            propensity=rows.cells('propensity') if kind == 'log' else None,
            single=rows.cells('single_ms') if rows.has('single_ms') else None)

    @property
    def deciding(self) -> float | None:
        """Time of a decision in ms, if the profile measured it."""
        return self.header.feature.get('deciding_ms')

    @property
    def looking(self) -> Tensor:
        """(S,) see :func:`looking_ms`."""
        return looking_ms(self.header.feature, len(self.space))

    def take(self, images: Tensor) -> 'ProfileTable':
        """The table of the images (N',) int64."""
        def some(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor[images]

        kept = images.tolist()
        return ProfileTable(
            self.header, self.space, tuple(self.images[i] for i in kept),
            some(self.latency), some(self.quality), some(self.features),
            some(self.context), tuple(self.difficulty[i] for i in kept),
            some(self.measured), some(self.propensity),
            some(self.single))


def looking_ms(feature: Mapping[str, Any], settings: int) -> Tensor:
    """(S,) in ms, what the image feature adds to a run in each setting.

    It is 0 where the run continues from the stage that the feature is of, and
    everywhere if nobody measured it.

    Args:
        feature: of a header: ``ms``, and ``reused``, the settings that continue.
        settings: S.
    """
    added = torch.full((settings, ), float(feature.get('ms', 0.)))
    added[list(feature.get('reused', ()))] = 0.
    return added


def write_table(path: str | Path, header: TableHeader,
                rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all.

    Args:
        path: of the Parquet file.
        header: what it is of.
        rows: each with some of the documented columns; what is absent is null.

    Raises:
        ValueError: a row has a column that is not documented.
    """
    types: dict[str, pa.DataType] = {
        'image': pa.int64(), 'image_id': pa.string(),
        **{knob['name']: pa.array(list(knob['values'])).type
           for knob in header.knobs},
        'latency_ms': pa.float64(), 'single_ms': pa.float64(),
        'quality': pa.float32(),
        'difficulty': pa.string(), 'log_prob': pa.float32(),
        'propensity': pa.float32(), 'feature': pa.list_(pa.float32()),
        'context': pa.list_(pa.float32())}
    present = {name for row in rows for name in row}
    if present - set(types):
        raise ValueError(
            f'write_table: rows have the columns {sorted(present - set(types))}; '
            f'accepted: {", ".join(types)}.')
    schema = pa.schema(
        [(name, kind) for name, kind in types.items() if name in present],
        metadata={_KEY: json.dumps({'version': VERSION, **asdict(header)})})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def read_header(path: str | Path) -> TableHeader | None:
    """The header of a table; None if the file has none.

    Raises:
        ValueError: the file is no Parquet file, or its header is of another
            version.
    """
    return _header(str(path), _schema(Path(path)))


def _schema(path: Path) -> pa.Schema:
    if not path.is_file():
        raise ValueError(
            f'{path}{relative_to(path)} is not a file; accepted: the table of a '
            'profile.')
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f'{path} is no Parquet file ({error}); accepted: a file of '
            'tools/budget/profile.py, or one with its columns.') from error


def _header(path: str, schema: pa.Schema) -> TableHeader | None:
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        return None
    try:
        entries = json.loads(text)
        if entries.pop('version') != VERSION:
            raise KeyError('version')
        known = {each.name for each in fields(TableHeader)}
        return TableHeader(**{key: value for key, value in entries.items()
                              if key in known})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} has a header that cannot be read ({error}); accepted: one '
            f'of version {VERSION}.') from error


def _open(path: Path, kind: Kind, knobs: Sequence[dict[str, Any]] | None
          ) -> tuple[pa.Table, TableHeader]:
    """The columns and the header of a file that is of this kind and knobs."""
    schema = _schema(path)
    header = _header(str(path), schema)
    if header is None:
        if knobs is None:
            raise ValueError(
                f'{path} has no header; accepted: a file of '
                'tools/budget/profile.py, or knobs=[dict(name=…, values=[…]), …] '
                'for the columns of another one.')
        header = TableHeader(kind, [dict(each) for each in knobs])
    elif header.kind != kind:
        raise ValueError(
            f'{path} is of kind {header.kind!r} and was announced as {kind!r}; '
            'accepted: the kind that its header says. A complete table and a log '
            'are not learned from in the same way.')
    elif knobs is not None and _plain(knobs) != _plain(header.knobs):
        raise ValueError(
            f'{path} is of the knobs {_plain(header.knobs)}; accepted: those that '
            f'were asked for, {_plain(knobs)}.')
    if ('propensity' in schema.names) != (kind == 'log'):
        raise ValueError(
            f'{path} has {"a" if kind == "complete" else "no"} column '
            f'propensity; accepted: {"none" if kind == "complete" else "one"} in '
            f'a table of kind {kind!r}.')
    wanted = [*_REQUIRED, *(each['name'] for each in header.knobs)]
    missing = [name for name in wanted if name not in schema.names]
    if missing:
        raise ValueError(
            f'{path} has no column {", ".join(missing)}; accepted: a table with '
            f'the columns {", ".join(wanted)}.')
    return pq.read_table(path), header


def _plain(knobs: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {each['name']: list(each['values']) for each in knobs}
