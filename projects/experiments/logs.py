"""What mmengine logged about a run, of all the times it was resumed."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

Record = dict[str, float]


def read_training(folder: Path) -> pd.DataFrame:
    """A row for each logged iteration, indexed by it.

    Of an iteration that was logged twice, as a resumed run does, the newer.
    Empty while nothing was logged.
    """
    rows = {int(record['iter']): record for record in _logged(folder)
            if 'iter' in record}
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name='iter'),
                        dtype=float).sort_index()


def read_evaluation(folder: Path, key: str) -> Record | None:
    """The newest evaluation that has ``key``, if no training followed it.

    Validation is logged among the training records, a test by itself.
    """
    found = None
    for record in _logged(folder):
        if 'iter' in record:
            found = None
        elif key in record:
            found = record
    return found


def newest_record(folder: Path) -> Record | None:
    """The last training record of a run that may still be running."""
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    records = [r for r in _records(files[-1]) if 'iter' in r] if files else []
    return records[-1] if records else None


def spans(training: pd.DataFrame, iterations: int) -> pd.Series:
    """How many iterations each record speaks for; the last for the rest."""
    ends = [*training.index[:-1], iterations]
    return pd.Series(np.diff([0, *ends]), training.index, dtype=float)


def mean_of(training: pd.DataFrame, iterations: int, key: str) -> float:
    """Mean of a scalar over a run's iterations; NaN where it was not logged."""
    if key not in training:
        return np.nan
    values = training[key].dropna()
    if values.empty:
        return np.nan
    return float(np.average(
        values, weights=spans(training, iterations)[values.index]))


def _logged(folder: Path) -> Iterator[Record]:
    for stamp in sorted(folder.glob('*/')):
        yield from _records(stamp / 'vis_data/scalars.json')
        yield from _records(stamp / f'{stamp.name}.json')


def _records(file: Path) -> Iterator[Record]:
    """The records of a file, one a line; a killed run may cut the last."""
    if not file.is_file():
        return
    for line in file.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
