"""The finished candidates of a search, in a file."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

from .recipe import Outcome, Recipe


@dataclass(frozen=True)
class Trial:
    """A candidate that was finished.

    Attributes:
        candidate: its number, in the order of asking, from 0.
        recipe: what it distils.
        outcome: its score and its cost.
        cost: of the recipe, per image, as a share of the full pyramid's.
        repeated: whether the score is that of an earlier candidate with the same
            recipe, so that no image and no time was spent.
    """
    candidate: int
    recipe: Recipe
    outcome: Outcome
    cost: float
    repeated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(
            candidate=self.candidate, recipe=self.recipe.to_dict(),
            cost=self.cost, repeated=self.repeated, **asdict(self.outcome))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> 'Trial':
        """Back from :meth:`to_dict`."""
        return cls(
            data['candidate'], Recipe.from_dict(data['recipe']),
            Outcome(data['score'], data['images'], data['seconds'],
                    data['error']),
            data['cost'], data['repeated'])


class History:
    """A file of JSON lines: a header, then a line for each finished candidate,
    in the order of finishing.

    A line is flushed to the disk before the search continues. If the process is
    killed while it writes a line, the incomplete line is dropped, and its
    candidate is evaluated again.

    Attributes:
        path: of the file.
        header: the settings of the search; ``header['efficiency']`` is the
            price of the full pyramid's cost, in points of the metric.
        incumbent: the best candidate; None if none has succeeded. Of equally
            good ones it is the cheapest, then the first.
    """

    def __init__(self, path: str | Path) -> None:
        """Read a file that exists."""
        self.path = Path(path)
        whole = self.path.read_bytes()
        whole = whole[:whole.rfind(b'\n') + 1]
        self._size = len(whole)
        self.incumbent: Trial | None = None
        self._trials: dict[int, Trial] = {}
        for number, line in enumerate(whole.splitlines() or [b''], 1):
            try:
                record = json.loads(line)
                if number == 1:
                    float(record['efficiency'])
                    self.header: dict[str, Any] = record
                else:
                    self._take(Trial.from_dict(record))
            except (ValueError, KeyError, TypeError):
                part = 'header' if number == 1 else 'candidate'
                raise ValueError(
                    f'{self.path}, line {number}, is not a {part} of a '
                    "search's history; search again in a new file.") from None

    @classmethod
    def open(cls, path: str | Path, header: Mapping[str, Any]) -> 'History':
        """Continue the search with these settings, or begin it.

        Raises:
            ValueError: the file holds a search with other settings.
        """
        # Imported here: the engine takes seconds to import, and Ray's processes
        # import this module without needing it.
        from mmrlkd.engine.atomic import write_atomically
        path = Path(path)
        line = json.dumps(header).encode() + b'\n'
        # Atomically: a file with an incomplete header could not be continued.
        if not path.exists():
            write_atomically(path, line)
        history = cls(path)
        wanted = json.loads(line)
        if history.header != wanted:
            differing = ', '.join(
                f'{key}={_short(wanted.get(key))} was '
                f'{_short(history.header.get(key))}'
                for key in sorted(wanted.keys() | history.header.keys())
                if wanted.get(key) != history.header.get(key))
            raise ValueError(
                f'{path} holds a search with other settings ({differing}); '
                'resume it with those or name a new file.')
        os.truncate(path, history._size)  # drop an incomplete last line
        return history

    @property
    def trials(self) -> list[Trial]:
        """The finished candidates in the order of asking, which may have gaps
        while the search runs."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def images(self) -> int:
        """Number that went through the student, over all candidates."""
        return sum(trial.outcome.images for trial in self._trials.values())

    @property
    def seconds(self) -> float:
        """Time of evaluating, summed over all candidates, parallel ones too."""
        return sum(trial.outcome.seconds for trial in self._trials.values())

    def __len__(self) -> int:
        return len(self._trials)

    def get(self, candidate: int) -> Trial | None:
        """The candidate of this number, if it is finished."""
        return self._trials.get(candidate)

    def objective(self, trial: Trial) -> float:
        """Score − efficiency · cost; −inf for a failure."""
        if trial.outcome.score is None:
            return -inf
        return trial.outcome.score - self.header['efficiency'] * trial.cost

    def add(self, trial: Trial) -> None:
        """Add a candidate, first to the file."""
        with self.path.open('ab') as file:
            file.write(json.dumps(trial.to_dict()).encode() + b'\n')
            file.flush()
            os.fsync(file.fileno())
        self._take(trial)

    def _take(self, trial: Trial) -> None:
        self._trials[trial.candidate] = trial
        if trial.outcome.score is not None and (
                self.incumbent is None or
                self._rank(trial) > self._rank(self.incumbent)):
            self.incumbent = trial

    def _rank(self, trial: Trial) -> tuple[float, float, int]:
        # By number, not by the order in the file: that is the order of
        # finishing, which differs from run to run with parallel workers.
        return self.objective(trial), -trial.cost, -trial.candidate


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
