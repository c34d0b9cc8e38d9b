"""Configs that are searched for before they are trained."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrlkd.evaluation.results import Record
from mmrlkd.search.found import FOUND, HISTORY

from .failure import ExperimentFailed
from .process import Session, launch
from .run import Run


@dataclass(frozen=True)
class Search:
    """A search; the training of what it finds follows in its folder.

    Attributes:
        run: the searching config, and the folder.
    """
    run: Run

    @property
    def name(self) -> str:
        """For messages."""
        return f'{self.run.name}, search'

    @property
    def iterations(self) -> None:
        """How many candidates a search looks at is its own affair."""

    @property
    def distils(self) -> bool:
        """Whether it needs the teacher."""
        return self.run.distils

    @property
    def found(self) -> Run:
        """The training of what is found."""
        run = self.run
        return Run(run.method, run.seed, run.folder / 'train',
                   run.folder / FOUND, tuple(
                       option for option in run.options
                       if not option.startswith('search.')))

    @property
    def finished(self) -> bool:
        """Whether it is over; until the training began, nobody else knows."""
        return self.found.log.is_file() and self.found.config.is_file()

    def newest(self) -> Record | None:
        """The number of candidates, and the best score so far."""
        candidates = list(read_candidates(self.run.folder / HISTORY))
        if not candidates:
            return None
        scores = [c['score'] for c in candidates if c['score'] is not None]
        return {'iter': len(candidates),
                **({'score': max(scores)} if scores else {})}


def read_candidates(history: Path) -> Iterator[dict[str, Any]]:
    """What a search evaluated, one line each after the header; a killed
    search may cut the last."""
    if not history.is_file():
        return
    for line in history.read_text().splitlines()[1:]:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def search(task: Search, options: list[str], session: Session) -> None:
    """Search, or continue; nothing if that is done.

    Args:
        task: what to search for.
        options: ``KEY=VALUE`` beside those of its run.
        session: of the experiment.

    Raises:
        ExperimentFailed: the search failed, or was ended.
    """
    if task.finished:
        return
    run = task.run
    session.reporter.begin(task)
    seeds = [f'randomness.seed={run.seed}', f'search.seed={run.seed}']
    if run.cfg.search.get('evaluator'):
        seeds.append(f'search.evaluator.seed={run.seed}')
    launch(task, run.folder / 'search.log', [
        session.tools / 'search.py', run.config, '--work-dir', run.folder,
        '--cfg-options', *seeds, *run.options, *options], session)
    if not task.found.config.is_file():
        raise ExperimentFailed(
            f'{task.name} ended without {task.found.config}; its log is '
            f'{run.folder / "search.log"}.')
    record = task.newest()
    session.reporter.end(
        task, f'{int(record["iter"]) if record else 0} candidates')
