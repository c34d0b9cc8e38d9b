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
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mmengine.config import Config

from mmrlkd.config.compose import load_config, read_method
from mmrlkd.config.inspection import CONFIG_ERRORS, check_config
from mmrlkd.engine.phase_hook import loop_length
from projects.scenes.scenes import SceneConfig

from .costs import cost_after_warm_up
from .front import fixed_subset, subset_name
from .logs import mean_of, read_evaluation, read_training
from .processes import THREADS
from .results import save_table
from .runs import TEACHER, ExperimentFailed
from .tasks import task_of
from .workers import Training, train_many, without_checkpoints

RESULTS = Path(__file__).parent / 'results'
#: What makes two rows the same training.
KEY = ('study', 'version', 'world', 'entry', 'method', 'options', 'seed',
       'teacher')


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


def read_row(folder: Path, cfg: Config) -> dict[str, Any]:
    """What a finished training tells.

    Returns:
        ``quality``, ``metric/NAME`` and ``stratum/NAME`` in points (0 to
        100); ``distill_cost`` and ``levels_per_image``, means over all
        iterations, and ``chosen_cost``, over those after the warm-up; 0 where
        nothing is distilled. ``subset`` of a fixed choice; ``seconds`` of an
        iteration; ``config``, see :func:`config_hash`.

    Raises:
        ExperimentFailed: it logged no evaluation.
    """
    task = task_of(cfg)
    evaluation = read_evaluation(folder, task.main.key)
    if evaluation is None:
        raise ExperimentFailed(
            f'{folder} has no evaluation that tells {task.main.key}; its log '
            f'is {folder / "train.log"}.')
    training = read_training(folder)
    length = loop_length(cfg) or 0
    prefix = f'{task.main.key}_'
    known = {metric.key for metric in task.metrics}
    subset = fixed_subset(cfg)
    return dict(
        subset=subset_name(subset) if subset else '',
        quality=task.main.read(evaluation),
        **{f'metric/{metric.name}': metric.read(evaluation)
           for metric in task.metrics[:3]},
        **{f'stratum/{key.removeprefix(prefix)}': 100 * value / task.main.whole
           for key, value in sorted(evaluation.items())
           if key.startswith(prefix) and key not in known},
        **{key: 0.0 if pd.isna(value) else round(value, 4) for key, value in (
            ('distill_cost', mean_of(training, length, 'distill_cost')),
            ('chosen_cost', cost_after_warm_up(cfg, length, training)),
            ('levels_per_image', mean_of(training, length, 'levels_per_image')),
            ('seconds', mean_of(training, length, 'time')))},
        config=config_hash(cfg))


def config_hash(cfg: Config) -> str:
    """Twelve hexadecimal digits that tell a composed config, whatever its
    seed: rows of one entry that differ in it are not seeds of one training."""
    content = {key: value for key, value in cfg.to_dict().items()
               if key != 'randomness'}
    return hashlib.sha256(json.dumps(
        content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def load_rows(path: Path) -> pd.DataFrame:
    """The results so far; empty if there are none."""
    if not path.is_file():
        return pd.DataFrame(columns=list(KEY))
    table = pd.read_csv(path, dtype=dict.fromkeys(
        ('study', 'world', 'entry', 'method', 'options', 'teacher', 'subset',
         'config', 'commit', 'family'), str), keep_default_na=True)
    text = table.select_dtypes(include=['object', 'string']).columns
    return table.assign(**{key: table[key].fillna('') for key in text})


def pending(study: Study, rows: pd.DataFrame, worlds: Sequence[str],
            entries: Sequence[str], seeds: Sequence[int],
            order: str = 'seeds') -> Iterator[tuple[World, Entry, int]]:
    """What is still to be trained.

    Args:
        study: the teachers of its worlds are there.
        rows: results so far.
        worlds, entries: names of those wanted; none: all.
        seeds: those wanted.
        order: ``'seeds'``: everything with the first seed, then with the next;
            ``'entries'``: each with all seeds. Priorities come before.
    """
    done = {tuple(map(str, row)) for row in
            rows[list(KEY)].itertuples(index=False)}
    tasks = [
        (entry.priority, *((s, e) if order == 'seeds' else (e, s)), w,
         world, entry, seed)
        for (s, seed), (e, entry), (w, world) in product(
            enumerate(seeds), enumerate(study.entries),
            enumerate(study.worlds.values()))
        if (not worlds or world.name in worlds)
        and (not entries or entry.name in entries or entry.family in entries)
        and (not entry.worlds or world.name in entry.worlds)]
    for *_, world, entry, seed in sorted(tasks, key=lambda task: task[:4]):
        key = _key(study, world, entry, seed)
        if tuple(map(str, key.values())) not in done:
            yield world, entry, seed


def _key(study: Study, world: World, entry: Entry, seed: int) -> dict[str, Any]:
    return dict(zip(KEY, (
        study.name, study.version, world.name, entry.name, entry.method or '',
        entry.text, seed, '' if entry.method is None else world.teacher),
        strict=True))


def run_study(study: Study, work_dir: Path, worlds: Sequence[str] = (),
              entries: Sequence[str] = (), seeds: Sequence[int] = (0, ),
              jobs: int = 2, order: str = 'seeds',
              say: Any = print) -> list[str]:
    """Train what the table lacks, and add it.

    Args:
        study: what.
        work_dir: takes the logs.
        worlds, entries, seeds, order: see :func:`pending`.
        jobs: trainings at a time.
        say: is told what ended.

    Returns:
        Sentences on what failed; the rest was trained all the same.
    """
    chosen = [world for world in study.worlds.values()
              if not worlds or world.name in worlds]
    failures = train_teachers(study, chosen, work_dir, jobs, say)
    if failures:
        return failures
    rows = load_rows(study.table)
    tasks = list(pending(study, rows, worlds, entries, seeds, order))
    say(f'{len(tasks)} trainings to do, {len(rows)} rows are there.')

    def training(world: World, entry: Entry, seed: int) -> Training:
        return Training(
            (world, entry, seed),
            lambda: _with_cache(compose(world, entry, seed), work_dir),
            work_dir / study.name / world.name / entry.name.replace(' ', '_')
            / f'seed_{seed}')

    for task in {(world.name, entry.name): (world, entry, seed)
                 for world, entry, seed in tasks}.values():
        compose(*task)  # what cannot work is said before anything is trained
    for number, (task, error) in enumerate(
            train_many([training(*task) for task in tasks], jobs), 1):
        world, entry, seed = task.key
        name = f'{world.name}, {entry.name}, seed {seed}'
        try:
            if error is not None:
                raise ExperimentFailed(
                    f'{type(error).__name__}: {error}; its log is '
                    f'{task.folder / "train.log"}')
            row = read_row(task.folder, compose(world, entry, seed))
        except ExperimentFailed as sentence:
            failures.append(f'{name}: {sentence}')
            say(failures[-1])
            continue
        add_row(study, world, entry, seed, row)
        say(f'{number}/{len(tasks)} {name}: {row["quality"]:.1f} at a mean '
            f'cost of {row["distill_cost"]:.2f}')
    return failures


def _with_cache(cfg: Config, work_dir: Path) -> Config:
    """The trainings of a study show the same teacher the same images; its maps
    are kept as they are, so that no student differs by a bit."""
    if 'teacher' in cfg.model and not cfg.model.teacher.get('cache'):
        cfg.model.teacher.cache = dict(
            path=str(work_dir / 'teacher_maps'), dtype='exact')
    return cfg


def train_teachers(study: Study, worlds: Sequence[World], work_dir: Path,
                   jobs: int, say: Any = print) -> list[str]:
    """Train the teachers that are not there, and add their rows."""
    lacking = [world for world in worlds if not world.checkpoint.is_file()]
    failures = []
    for task, error in train_many([
            Training(world, lambda world=world: compose_teacher(world),
                     world.checkpoint.parent.resolve())
            for world in lacking], min(jobs, len(lacking) or 1)):
        world = task.key
        if error is not None or not world.checkpoint.is_file():
            failures.append(
                f'{world.name}, teacher: {error or "left no checkpoint"}; its '
                f'log is {task.folder / "train.log"}')
            continue
    rows = load_rows(study.table)
    for world in worlds:
        entry, folder = Entry(TEACHER, method=''), world.checkpoint.parent
        key = _key(study, world, entry, 0)
        there = {tuple(map(str, row)) for row in
                 rows[list(KEY)].itertuples(index=False)}
        # One from elsewhere has no log.
        if (world.checkpoint.is_file() and any(folder.glob('*/'))
                and tuple(map(str, key.values())) not in there):
            row = read_row(folder, compose_teacher(world))
            add_row(study, world, entry, 0, row)
            say(f'{world.name}, teacher: {row["quality"]:.1f}')
    return failures


def add_row(study: Study, world: World, entry: Entry, seed: int,
            row: dict[str, Any]) -> None:
    """Write a row to the table, whole or not at all."""
    rows = load_rows(study.table)
    new = {**_key(study, world, entry, seed), 'family': entry.family,
           'budget': entry.budget, **row, 'commit': commit(),
           'torch': torch.__version__, 'threads': THREADS}
    table = pd.concat([rows, pd.DataFrame([new])], ignore_index=True)
    study.table.parent.mkdir(parents=True, exist_ok=True)
    # Metrics of all worlds stand before what is known of the machine.
    last = [c for c in ('config', 'commit', 'torch', 'threads') if c in table]
    save_table(table[[*(c for c in table if c not in last), *last]],
               study.table)


def commit() -> str:
    """Of the code, with a + where it was changed since; empty without git."""
    def git(*words: str) -> str:
        return subprocess.run(
            ['git', *words], cwd=Path(__file__).parent, capture_output=True,
            text=True, check=True).stdout.strip()
    try:
        changed = git('status', '--porcelain', '--untracked-files=no', '--',
                      'mmrlkd', 'configs', 'projects')
        # The table itself changes with each row.
        changed = '\n'.join(line for line in changed.splitlines()
                            if not line.endswith('.csv'))
        return git('rev-parse', '--short', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return ''


def scenes_of(world: World) -> tuple[Path, SceneConfig]:
    """Folder and parameters of a world's data."""
    return Path(world.cfg.data_root), SceneConfig(**world.data)
