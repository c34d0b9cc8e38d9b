"""One model to train, and what its training has left."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmrlkd.config.compose import load_config
from mmrlkd.config.inspection import CONFIG_ERRORS
from mmrlkd.engine.phase_hook import loop_length
from mmrlkd.evaluation.results import Record, newest_record, read_log

from .failure import ExperimentFailed

TEACHER = 'teacher'


@dataclass(frozen=True)
class Run:
    """One model to train: a config, a seed, and a folder for both.

    Attributes:
        method: its name in tables.
        seed: of the training.
        folder: where logs and checkpoints go.
        config: file.
        options: ``KEY=VALUE`` for ``--cfg-options``.
    """
    method: str
    seed: int
    folder: Path
    config: Path
    options: tuple[str, ...] = ()

    @cached_property
    def cfg(self) -> Config:
        """The config, with the options in it.

        Raises:
            ExperimentFailed: it cannot be read, or defines no model.
        """
        try:
            cfg = load_config(
                self.config, cfg_options=parse_options(self.options))
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
        return self.trained and read_log(self.folder).evaluation is not None

    def newest(self) -> Record | None:
        """How far it is."""
        return newest_record(self.folder)


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
