"""The trainings of a study, and the table of what they came to."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mmengine.config import Config

from .costs import cost_after_warm_up, iterations_of
from .front import fixed_subset, subset_name
from .logs import mean_of, read_evaluation, read_training
from .processes import THREADS
from .results import save_table
from .runs import TEACHER, ExperimentFailed
from .study import RESULTS, Entry, Study, World, compose, compose_teacher
from .tasks import task_of
from .workers import Training, train_many

#: What makes two rows the same training.
KEY = ('study', 'version', 'world', 'entry', 'method', 'options', 'seed',
       'teacher')


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
    length = iterations_of(cfg, training)
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


def current_rows(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """The results of a study as it is now: of its version, and of entries whose
    method and options have not changed since."""
    known = {(entry.name, entry.method or '', entry.text)
             for entry in study.entries}
    return rows[[
        str(version) == str(study.version)
        and (entry == TEACHER or (entry, method, options) in known)
        for version, entry, method, options in zip(
            rows.version, rows.entry, rows.method, rows.options, strict=True)]]


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
    rows = load_rows(study.table)
    for world in worlds:
        if not world.checkpoint.is_file():
            continue
        entry, folder = Entry(TEACHER, method=''), world.checkpoint.parent
        key = _key(study, world, entry, 0)
        there = {tuple(map(str, row)) for row in
                 rows[list(KEY)].itertuples(index=False)}
        # One from elsewhere has no log.
        if (any(folder.glob('*/'))
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
        # Results change with each row, and with each report.
        changed = git('status', '--porcelain', '--untracked-files=no', '--',
                      'mmrlkd', 'configs', 'projects', f':!{RESULTS}')
        return git('rev-parse', '--short', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return ''
