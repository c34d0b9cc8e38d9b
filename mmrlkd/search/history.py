"""Every candidate that was finished, on disk as soon as it is."""

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
        recipe: what was tried.
        outcome: what became of it.
        cost: of the recipe, per image, as a share of the full pyramid's.
        repeated: the recipe was evaluated before, as another candidate, whose
            score this is; no image and no time was spent.
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

    A line reaches the disk before anything builds on it. One that was being
    written when the process was killed is dropped, and its candidate is then
    one of the unfinished.

    Attributes:
        path: of the file.
        header: the settings of the search; ``header['efficiency']`` is what
            the full pyramid's cost is worth, in points of the metric.
        incumbent: the best candidate, None before one succeeded. Among equals
            the cheapest, then the first.
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

        A file that holds a search with others is refused.
        """
        # The engine takes seconds to import, which Ray's workers can spare.
        from mmrlkd.engine.atomic import write_atomically
        path = Path(path)
        line = json.dumps(header).encode() + b'\n'
        # The header is written whole or not at all, so this is no torn one.
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
        os.truncate(path, history._size)  # what was torn
        return history

    @property
    def trials(self) -> list[Trial]:
        """In the order of asking; of an unfinished search there may be some
        missing in between."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def images(self) -> int:
        """That went through the student, of all candidates together."""
        return sum(trial.outcome.images for trial in self._trials.values())

    @property
    def seconds(self) -> float:
        """Spent evaluating, of all candidates together, also of those that
        were evaluated at the same time."""
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
        """Remember, on disk first."""
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
        # Lines come in the order of finishing, on which nothing may depend.
        return self.objective(trial), -trial.cost, -trial.candidate


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
