"""What an experiment trains, and what each training has left."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from mmengine.config import Config, DictAction

from mmrlkd.config.compose import load_config
from mmrlkd.config.inspection import CONFIG_ERRORS
from mmrlkd.config.student import is_distiller
from mmrlkd.engine.phase_hook import loop_length
from mmrlkd.search.found import FOUND, HISTORY
from mmrlkd.search.settings import searches

from .costs import read_candidates
from .logs import Record, newest_record, read_evaluation
from .tasks import Task, task_of

TEACHER = 'teacher'


class ExperimentFailed(Exception):
    """A sentence that says what went wrong."""


class Job(Protocol):
    """What takes its time; hashable."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def iterations(self) -> int | None:
        """How many there are; None where nobody knows."""

    def newest(self) -> Record | None:
        """``iter``: how many are done; ``time``: of one, in seconds; ``loss``
        or ``score``, if there is one."""


@dataclass(frozen=True)
class Run:
    """One model to train: a config, a seed, and a folder for both.

    Attributes:
        method: its name in tables.
        seed: of the training.
        folder: where logs and checkpoints go.
        config: file.
        options: ``KEY=VALUE`` for ``--cfg-options``.
        recipe: for ``--method``; None for the config's own.
        cost_of: a run whose mean cost per image this one's random selector
            spends; it trains first.
    """
    method: str
    seed: int
    folder: Path
    config: Path
    options: tuple[str, ...] = ()
    recipe: str | None = None
    cost_of: 'Run | None' = None

    @cached_property
    def cfg(self) -> Config:
        """The config, with the options in it.

        Raises:
            ExperimentFailed: it cannot be read, or defines no model.
        """
        try:
            cfg = load_config(
                self.config, self.recipe, parse_options(self.options))
        except (*CONFIG_ERRORS, SyntaxError) as error:
            raise ExperimentFailed(
                f'{self.config} cannot be read: {error}') from error
        if 'model' not in cfg:
            raise ExperimentFailed(
                f'{self.config} defines no model; accepted: a config to train '
                'with.')
        return cfg

    @property
    def name(self) -> str:
        """For messages."""
        return (self.method if self.method == TEACHER else
                f'{self.method}, seed {self.seed}')

    @property
    def iterations(self) -> int | None:
        """How long it trains; None for a run that counts epochs."""
        return (loop_length(self.cfg)
                if 'max_iters' in self.cfg.train_cfg else None)

    @property
    def distils(self) -> bool:
        """Whether it needs the teacher."""
        return 'teacher' in self.cfg.model

    @property
    def searches(self) -> bool:
        """Whether its levels are searched for before it trains."""
        return searches(self.cfg)

    @property
    def selector(self) -> str:
        """Name of the selector's type; empty for a run that distils nothing."""
        return (self.cfg.model.selector.type.rpartition('.')[2]
                if is_distiller(self.cfg) else '')

    @cached_property
    def task(self) -> Task:
        """What it is judged by.

        Raises:
            ExperimentFailed: the config does not say which number decides.
        """
        try:
            return task_of(self.cfg)
        except ValueError as error:
            raise ExperimentFailed(f'{self.config}: {error}') from error

    @property
    def words(self) -> list[str]:
        """Config and method, for a tool's command line."""
        return [str(self.config), *(['--method', self.recipe] if self.recipe
                                    else [])]

    @property
    def log(self) -> Path:
        """Everything that its processes said."""
        return self.folder / 'train.log'

    @property
    def dumped(self) -> Path:
        """The config as mmengine wrote it down, without bases."""
        return self.folder / self.config.name

    @property
    def checkpoint(self) -> Path | None:
        """The newest, if there is one."""
        name = newest_checkpoint(self.folder)
        path = name and self.folder / name
        return path if path and path.is_file() else None

    @property
    def trained(self) -> bool:
        """Whether the last iteration's checkpoint is there."""
        return (self.checkpoint is not None
                and self.checkpoint.stem == end_of(self.cfg))

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated."""
        return self.trained and read_evaluation(
            self.folder, self.task.main.key) is not None

    def newest(self) -> Record | None:
        """How far it is."""
        return newest_record(self.folder)


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
    def cost_of(self) -> None:
        """A search chooses its costs."""

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


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` as mmengine's command lines read it."""
    parser = argparse.ArgumentParser()
    parser.add_argument('words', nargs='*', action=DictAction)
    return parser.parse_args(['--', *words]).words or {}


def newest_checkpoint(folder: Path) -> str | None:
    """Name of the file that mmengine's pointer names, there or not."""
    pointer = folder / 'last_checkpoint'
    if not pointer.is_file():
        return None
    # By its name only: the work dir may have been moved.
    return Path(pointer.read_text().strip()).name


def end_of(cfg: Config) -> str:
    """Name of the last checkpoint, without suffix: ``'iter_600'``.

    Raises:
        ExperimentFailed: the config does not say how long it trains.
    """
    for key, prefix in (('max_iters', 'iter'), ('max_epochs', 'epoch')):
        if key in cfg.train_cfg:
            return f'{prefix}_{loop_length(cfg)}'
    raise ExperimentFailed(
        f'{cfg.filename}: train_cfg={dict(cfg.train_cfg)} does not say how '
        'long to train; accepted: max_iters or max_epochs in it.')
