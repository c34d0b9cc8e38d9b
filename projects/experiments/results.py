"""The results table: a row for each finished run, read from its work dir."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mmengine.config import Config

from mmrlkd.config.student import is_distiller
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.search.found import FOUND, HISTORY

from .costs import (
    SearchCost,
    batch_size,
    cost_after_warm_up,
    cost_of_phases,
    cost_of_search,
    iterations_of,
    phases_of,
)
from .front import FRONT, fixed_subset, subset_name
from .logs import mean_of, read_evaluation, read_training, spans
from .runs import TEACHER, end_of, newest_checkpoint
from .selections import Selections
from .tasks import task_of

#: In a run's folder: what its training knew and no log has.
FACTS = 'facts.json'
#: In a run's folder: what its selector chooses for the validation images.
SELECTIONS = 'selections.json'
#: In the work dir.
TABLE = 'results.csv'

#: Means over the iterations of a run, by the name they are logged under.
_LOGGED = ('levels_per_image', 'distill_cost', 'distill_gflops',
           'reward_gflops', 'logit_gflops', 'descriptor_gflops')
#: Columns of text; the others are numbers and truth values.
_TEXT = ('method', 'selector', 'subset', 'levels', 'task', 'quality_name',
         'main', 'folder')


def read_run(folder: Path, method: str, seed: int,
             cfg: Config) -> dict[str, Any] | None:
    """The row of one run.

    Args:
        folder: that it trained in; no model and no data need be there.
        method: its name.
        seed: its seed.
        cfg: its config.

    Returns:
        None unless it is trained to the end and evaluated. Otherwise, beside
        the names,

        ``quality``, ``metric/NAME``, ``stratum/NAME``
            its numbers, in points (0 to 100); ``main`` names the one that
            ``quality`` repeats
        ``iterations``, ``student_updates``, ``train_images``, ``seconds``
            of the training; seconds are of one iteration
        ``levels_per_image``, ``distill_cost``, ``*_gflops``, ``gflops``
            of an image in training, mean over the iterations; ``gflops`` is
            the sum of the levels', the reward's, the logits' and the
            descriptors'
        ``chosen_cost``
            ``distill_cost`` of the iterations in which the selector chose
        ``adaptive``, ``distinct_subsets``, ``select/STRATUM/LEVEL``
            what the trained selector does, where ``selections.json`` tells it;
            rates are shares of the images
        ``threads``, ``parameters``
            where ``facts.json`` tells them
    """
    task = task_of(cfg)
    evaluation = read_evaluation(folder, task.main.key)
    training = read_training(folder)
    if (Path(newest_checkpoint(folder) or '').stem != end_of(cfg)
            or evaluation is None or training.empty):
        return None
    iterations = iterations_of(cfg, training)
    known = {metric.key for metric in task.metrics}
    prefix = f'{task.main.key}_'
    means = {key: mean_of(training, iterations, key) for key in _LOGGED}
    updates = (training['updates_student'].fillna(1.0)
               if 'updates_student' in training else 1.0)
    parts = [means[key] for key in _LOGGED if key.endswith('gflops')]
    subset = fixed_subset(cfg)
    row: dict[str, Any] = dict(
        method=method, seed=seed, task=task.name, main=task.main.name,
        quality_name=task.quality, quality=task.main.read(evaluation),
        selector=(cfg.model.selector.type.rpartition('.')[2]
                  if is_distiller(cfg) else ''),
        subset=subset_name(subset) if subset else '',
        levels=' '.join(cfg.model.get('levels', ())),
        **{f'metric/{metric.name}': metric.read(evaluation)
           for metric in task.metrics},
        **{f'stratum/{key.removeprefix(prefix)}': 100 * value / task.main.whole
           for key, value in evaluation.items()
           if key.startswith(prefix) and key not in known
           and isinstance(value, int | float)},
        iterations=iterations,
        student_updates=round(float(
            (spans(training, iterations) * updates).sum())),
        train_images=iterations * batch_size(cfg),
        seconds=mean_of(training, iterations, 'time'),
        **means,
        chosen_cost=cost_after_warm_up(cfg, iterations, training),
        gflops=np.nansum(parts) if not np.isnan(parts).all() else np.nan)
    for name in (FACTS, SELECTIONS):
        if (folder / name).is_file():
            text = (folder / name).read_text()
            row |= (json.loads(text) if name == FACTS else
                    Selections.loads(text).columns())
    return row


def read_results(work_dir: Path, methods: Collection[str] = (),
                 front: bool = True) -> tuple[pd.DataFrame, list[str]]:
    """The rows of every finished run in a work dir, and who is not finished.

    Args:
        work_dir: of a demo or a comparison.
        methods: names of those wanted, in the order of the table; none for
            all, by name. The teacher always comes first.
        front: whether the fixed subsets that only the front needs are wanted;
            they come last, by cost, and have ``hindsight``.
    """
    rows: list[dict[str, Any]] = []
    missing = []
    for method, seed, folder, hindsight in _folders(work_dir):
        if hindsight and not front or methods and not hindsight and (
                method not in (TEACHER, *methods)):
            continue
        row = _read(folder, method, seed)
        if row is None:
            missing.append(f'{method}, seed {seed}')
        else:
            rows.append(row | dict(
                hindsight=hindsight,
                folder=folder.relative_to(work_dir).as_posix()))
    order = list(methods)
    rows.sort(key=lambda row: (
        row['hindsight'], row['method'] != TEACHER,
        row['distill_cost'] if row['hindsight'] else 0,
        order.index(row['method']) if row['method'] in order else 0,
        row['method'], row['seed']))
    table = pd.DataFrame(rows)
    # Columns of a name that begins alike stand together, whoever came first.
    groups = {key: i for i, key in enumerate(dict.fromkeys(
        column.partition('/')[0] for column in table))}
    return table[sorted(table, key=lambda c: groups[c.partition('/')[0]])], missing


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, whole or not at all."""
    write_atomically(path, table.to_csv(index=False).encode())


def load_table(path: Path) -> pd.DataFrame:
    """Take back :func:`save_table`.

    Raises:
        ValueError: the file is something else.
    """
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError,
            UnicodeDecodeError) as error:
        raise ValueError(f'it is no table of results ({error}); accepted: a '
                         f'{TABLE} of tools/demo.py or tools/compare.py.') from error
    lacking = {'method', 'seed', 'quality', *_TEXT} - {*table}
    if lacking:
        raise ValueError(
            f'it is no table of results (columns {sorted(lacking)} are not '
            f'there); accepted: a {TABLE} of tools/demo.py or '
            'tools/compare.py.')
    text = [column for column in _TEXT if column in table]
    return table.assign(**table[text].astype(object).fillna('').astype(str))


def _folders(work_dir: Path) -> Iterator[tuple[str, int, Path, bool]]:
    """Method, seed and folder of everything that began to train, and whether
    only the front needs it."""
    if (work_dir / TEACHER).is_dir():
        yield TEACHER, 0, work_dir / TEACHER, False
    for pattern, hindsight in (('*/seed_*/', False), (f'{FRONT}/*/seed_*/', True)):
        for folder in sorted(work_dir.glob(pattern)):
            seed = folder.name.removeprefix('seed_')
            if seed.isdigit() and folder.parent.name != TEACHER:
                yield folder.parent.name, int(seed), folder, hindsight


def _read(folder: Path, method: str, seed: int) -> dict[str, Any] | None:
    """One row, with what finding its levels cost; None while not finished."""
    searched = (folder / HISTORY).parent.is_dir()
    trained = folder / 'train' if searched else folder
    cfg = dumped_config(folder)
    if cfg is None:
        return None
    row = read_run(trained, method, seed, cfg)
    if row is None:
        return None
    cost = SearchCost()
    if searched:
        cost = cost_of_search(folder)
        # Found, not chosen with hindsight.
        row |= dict(selector='search', subset='')
    elif phases_of(cfg, row['iterations']):
        cost = cost_of_phases(cfg, row['iterations'],
                              read_training(trained)['time'])
    return row | dict(search_images=cost.images, search_seconds=cost.seconds)


def dumped_config(folder: Path) -> Config | None:
    """The config that a run wrote into its folder; None if it did not."""
    searched = (folder / HISTORY).parent.is_dir()
    trained = folder / 'train' if searched else folder
    configs = ([trained / FOUND] if searched else
               sorted(trained.glob('*.py')))
    if not configs or not configs[0].is_file():
        return None
    # What it imports might not be here.
    return Config.fromfile(configs[0], import_custom_modules=False)
