"""A study: many methods, at many costs, in several worlds, paired by seed.

A study is a Python file that mmengine reads as a config::

    version = 1                       # raised when older rows must not count
    worlds = dict(scenes=dict(
        pair='configs/demo/study.py', student='configs/demo/study_student.py',
        data=dict(size=96, val=1000)))
    entries = [
        dict(name='student'),
        dict(name='uniform', method='uniform'),
        dict(name='policy 1.5', family='policy', budget=1.5, method='ppo',
             options={'model.selector.mean_cost': 1.5}),
        dict(name='shuffled 1.5', family='shuffled', budget=1.5, method='ppo',
             options={'model.selector.mean_cost': 1.5}, control='shuffled')]

Its results are one table, a row for each training, that is kept with the code:
whoever checks it out continues where the table ends.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmrlkd.config.compose import load_config, read_method
from mmrlkd.config.inspection import CONFIG_ERRORS, check_config
from mmrlkd.engine.phase_hook import loop_length
from projects.scenes.scenes import SceneConfig

from .runs import TEACHER, ExperimentFailed
from .workers import without_checkpoints

RESULTS = Path(__file__).parent / 'results'


@dataclass(frozen=True)
class World:
    """Data, a student and its teacher.

    Attributes:
        name: in tables.
        pair: config of the distillation; its ``model.teacher`` says how the
            teacher is trained and where it lies.
        student: config of the student alone.
        data: fields of :class:`~projects.scenes.scenes.SceneConfig`.
    """
    name: str
    pair: str
    student: str
    data: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def cfg(self) -> Config:
        """Of the pair."""
        return load_config(self.pair)

    @property
    def checkpoint(self) -> Path:
        """Of the teacher."""
        return Path(self.cfg.model.teacher.checkpoint)

    @cached_property
    def teacher(self) -> str:
        """Hash of the teacher's weights."""
        return weights_hash(self.checkpoint)


@dataclass(frozen=True)
class Entry:
    """One way to choose levels, to be trained with each seed.

    Attributes:
        name: in tables.
        method: see ``--method`` of ``tools/train.py``; None: the student alone.
        options: overrides by dotted key, as ``--cfg-options`` has them.
        control: of :class:`mmrlkd.ControlSelector`, which wraps the selector:
            ``'shuffled'``, ``'opposite'``, ``'rates'``; None: no control.
        phases: method whose phases this one goes through instead of its own,
            so that a fixed choice has the warm-up of a learned one.
        family: entries that differ in their budget alone; a line in figures.
        budget: nominal mean cost of an image.
        worlds: in which it is trained; none named: in all.
        priority: entries of a lower one are trained first.
    """
    name: str
    method: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    control: str | None = None
    phases: str | None = None
    family: str = ''
    budget: float | None = None
    worlds: tuple[str, ...] = ()
    priority: int = 0

    @property
    def text(self) -> str:
        """All that decides what is trained, beside the method."""
        return json.dumps({**self.options, **{
            key: value for key, value in (
                ('control', self.control), ('phases', self.phases))
            if value}}, sort_keys=True)


@dataclass(frozen=True)
class Study:
    """See the module.

    Attributes:
        name: of its file.
        version: of its results.
        worlds: by name.
        entries: in the order of the tables.
    """
    name: str
    version: int
    worlds: dict[str, World]
    entries: tuple[Entry, ...]

    @property
    def table(self) -> Path:
        """File of the results."""
        return RESULTS / f'{self.name}.csv'

    def entry(self, name: str) -> Entry:
        """An entry by its name."""
        return next(entry for entry in self.entries if entry.name == name)


def read_study(path: Path) -> Study:
    """Read the file of a study.

    Raises:
        ExperimentFailed: it is not one.
    """
    cfg = Config.fromfile(path).to_dict()
    try:
        worlds = {name: World(name, **world)
                  for name, world in cfg['worlds'].items()}
        entries = tuple(Entry(**entry) for entry in cfg['entries'])
        version = int(cfg['version'])
    except (KeyError, TypeError) as error:
        raise ExperimentFailed(
            f'{path} is no study ({error}); accepted: version, worlds with '
            f'{", ".join(f.name for f in fields(World)[1:])}, and entries with '
            f'{", ".join(f.name for f in fields(Entry))}.') from error
    names = [entry.name for entry in entries]
    twice = {name for name in names if names.count(name) > 1}
    unknown = {world for entry in entries for world in entry.worlds} - {*worlds}
    if twice or TEACHER in names or unknown:
        raise ExperimentFailed(
            f'{path}: entries are called {sorted(twice) or TEACHER} or name '
            f'the worlds {sorted(unknown)}; accepted: names that differ, none '
            f'of them {TEACHER}, and worlds among {", ".join(worlds)}.')
    return Study(path.stem, version, worlds, entries)


def check_asked(study: Study, worlds: Sequence[str],
                entries: Sequence[str]) -> None:
    """Refuse names that a study does not have.

    Raises:
        ExperimentFailed: there is one.
    """
    known = {key: None for entry in study.entries
             for key in (entry.name, entry.family) if key}
    for option, asked, accepted in (('--worlds', worlds, study.worlds),
                                    ('--entries', entries, known)):
        for name in asked:
            if name not in accepted:
                raise ExperimentFailed(
                    f'{option} {name!r}: {study.name} has none of that name; '
                    f'accepted: {", ".join(map(repr, accepted))}.')


def compose(world: World, entry: Entry, seed: int) -> Config:
    """The config of one training.

    Raises:
        ExperimentFailed: it cannot work.
    """
    try:
        cfg = load_config(
            world.student if entry.method is None else world.pair,
            entry.method, entry.options)
        if entry.phases:
            _put_phases(cfg, entry.phases)
        if entry.control:
            cfg.model.selector = dict(
                type='mmrlkd.ControlSelector', selector=cfg.model.selector,
                control=entry.control)
        cfg.randomness = dict(seed=seed)
        without_checkpoints(cfg)
        check_config(cfg)
    except CONFIG_ERRORS as error:
        raise ExperimentFailed(
            f'{entry.name} in {world.name}: {error}') from error
    return cfg


def compose_teacher(world: World) -> Config:
    """The config of the teacher's training, which leaves a checkpoint."""
    cfg = load_config(Config._get_cfg_path(world.cfg.model.teacher.config, '')[0]
                      if '::' in world.cfg.model.teacher.config else
                      world.cfg.model.teacher.config)
    end = loop_length(cfg)
    cfg.randomness = dict(seed=0)
    without_checkpoints(cfg)
    cfg.default_hooks.checkpoint = dict(
        type='mmrlkd.DistillCheckpointHook', by_epoch=False, interval=end,
        max_keep_ckpts=1)
    return cfg


def _put_phases(cfg: Config, method: str) -> None:
    hooks = [hook for hook in read_method(method).custom_hooks
             if hook['type'] == 'mmrlkd.PhaseHook']
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks
                        if hook['type'] != 'mmrlkd.PhaseHook'] + hooks


def weights_hash(checkpoint: Path) -> str:
    """Twelve hexadecimal digits that tell the weights of a checkpoint."""
    state = torch.load(checkpoint, map_location='cpu', weights_only=True)
    digest = hashlib.sha256()
    for key, value in sorted(state.get('state_dict', state).items()):
        digest.update(key.encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def scenes_of(world: World) -> tuple[Path, SceneConfig]:
    """Folder and parameters of a world's data."""
    return Path(world.cfg.data_root), SceneConfig(**world.data)
