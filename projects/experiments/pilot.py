"""Pilots: what each level is worth to each group of images, measured.

Images fall into groups by a descriptor's quantiles. Many short trainings
distil each group at levels drawn at random; a linear regression of the metric
on held-out images on what was drawn tells the worth of each (group, level).
Regressing what training data lead to on random subsets of them is the method
of datamodels (Ilyas et al. 2022, https://arxiv.org/abs/2202.00622); here the
parts of the data are the groups, and what is left out is the teacher's level.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from scipy import stats

from mmrlkd.config.compose import load_config
from mmrlkd.config.inspection import check_config
from mmrlkd.config.student import check_distils, model_config
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.phase_hook import loop_length
from mmrlkd.registry import MODELS
from mmrlkd.search.evaluator import shorten
from mmrlkd.search.settings import SearchSettings

from .costs import batch_size
from .logs import read_evaluation
from .results import save_table
from .runs import ExperimentFailed
from .statistics import CONFIDENCE
from .workers import Training, train_many, without_checkpoints

#: In the work dir: the table of trainings, and what came out.
TABLE, WORTH = 'pilots.csv', 'worth.json'


@dataclass(frozen=True)
class Pilot:
    """What is asked, and how hard.

    Attributes:
        config: of a pair, with a ``search`` that says what is held out.
        descriptor: by which images are grouped.
        edges: upper ends of all groups but the last.
        method: as ``--method``; its phases are kept, its selector is not.
        options: overrides by dotted key.
        trainings: how many.
        iterations: of each; None for those of the config.
        seeds: of the trainings, in turn; each has its own constant in the
            regression.
    """
    config: Path
    descriptor: str
    edges: tuple[float, ...]
    method: str | None = None
    options: dict[str, Any] | None = None
    trainings: int = 40
    iterations: int | None = None
    seeds: tuple[int, ...] = (0, 1)

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self.edges) + 1

    def seed(self, number: int) -> int:
        """Of a training; both of two opposite ones have the same."""
        return self.seeds[number // 2 % len(self.seeds)]


class Effects(NamedTuple):
    """Of a linear regression, each (K,): coefficients and half widths of
    their intervals; beside them the residual's standard deviation and its
    degrees of freedom."""
    coefficients: np.ndarray
    half_widths: np.ndarray
    residual: float
    freedom: int


def draw_rates(number: int, groups: int, levels: int) -> np.ndarray:
    """(G, L) of 0 and 1: the rates of training ``number``.

    Each is 1 with probability one half: of all rates in [0, 1] those vary
    most, so that the same number of trainings tells most. Every second
    training has the opposite of the one before, which makes every (group,
    level) exactly as often distilled as not.
    """
    rates = np.random.default_rng(number // 2).integers(2, size=(groups, levels))
    return 1 - rates if number % 2 else rates


def quantile_edges(values: np.ndarray, groups: int) -> tuple[float, ...]:
    """G − 1 edges that part values in groups of nearly equal size.

    Of a descriptor that takes whole numbers they lie between these. An image
    belongs to the first group whose edge is not below its value.

    Raises:
        ExperimentFailed: the values take too few different ones.
    """
    different, counts = np.unique(values, return_counts=True)
    wanted = np.arange(1, groups) / groups
    share = np.cumsum(counts)[:-1] / len(values)
    if len(different) >= groups:
        # Between two neighbours, where the share comes nearest to the wanted.
        nearest = [int(np.abs(share - each).argmin()) for each in wanted]
        if len({*nearest}) == len(nearest):
            return tuple(float(different[i] + different[i + 1]) / 2
                         for i in nearest)
    raise ExperimentFailed(
        f'--groups {groups}: the descriptor takes {len(different)} different '
        'values, which do not make so many groups of like size; accepted: '
        'fewer groups, or --edges.')


def load_edges(work_dir: Path, groups: int) -> tuple[float, ...] | None:
    """The edges of a pilot that was begun there; None if there is none, or
    one of other groups."""
    table = work_dir / TABLE
    if not table.is_file():
        return None
    edges = json.loads(pd.read_csv(table).pilot[0])['edges']
    return tuple(edges) if len(edges) == groups - 1 else None


def regress(design: np.ndarray, metric: np.ndarray,
            blocks: np.ndarray) -> Effects:
    """Ordinary least squares with one constant for each block.

    Args:
        design: (N, K) what was drawn.
        metric: (N,) what it led to.
        blocks: (N,) of each training; here its seed.

    Raises:
        ExperimentFailed: there are too few trainings to tell all K.
    """
    constants = (blocks[:, None] == np.unique(blocks)).astype(float)
    x = np.hstack([design, constants])
    freedom = len(x) - x.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(x) < x.shape[1]:
        raise ExperimentFailed(
            f'{len(x)} trainings cannot tell {design.shape[1]} effects and '
            f'{constants.shape[1]} constants; accepted: more of --trainings, '
            'or fewer --groups.')
    covariance = np.linalg.inv(x.T @ x)
    beta = covariance @ x.T @ metric
    variance = ((metric - x @ beta)**2).sum() / freedom
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(
        variance * covariance.diagonal())
    k = design.shape[1]
    return Effects(beta[:k], half[:k], float(np.sqrt(variance)), freedom)


def check_pilot(pilot: Pilot, groups: int) -> None:
    """Refuse a pilot that could not tell what it is asked for.

    Args:
        pilot: its edges need not be known yet.
        groups: how many there will be.

    Raises:
        ExperimentFailed: there are too few trainings for the groups and the
            config's levels, or the config holds no images out.
        ValueError: a training would fail when its model is built.
    """
    levels = len(_held_out(pilot).model.levels)
    numbers = range(pilot.trainings)
    regress(np.stack([draw_rates(i, groups, levels).flatten() for i in numbers]),
            np.zeros(len(numbers)), np.array([pilot.seed(i) for i in numbers]))
    cfg = compose(replace(
        pilot, edges=pilot.edges or tuple(map(float, range(1, groups)))), 0)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    MODELS.build(model_config(cfg)).teacher.require_weights()


def compose(pilot: Pilot, number: int) -> Config:
    """The config of one training: on the part of the training images that the
    search trains on, judged on the part that it holds out.

    Raises:
        ExperimentFailed: the config has no such parts.
    """
    cfg = _held_out(pilot)
    rates = draw_rates(number, pilot.groups, len(cfg.model.levels))
    cfg.model.selector = dict(
        type='mmrlkd.GroupSelector', descriptor=pilot.descriptor,
        edges=list(pilot.edges), rates=rates.astype(float).tolist())
    cfg.randomness = dict(seed=pilot.seed(number))
    check_config(cfg)
    return cfg


def measure(pilot: Pilot, batches: int, work_dir: Path) -> np.ndarray:
    """What the descriptor says of training images.

    Args:
        pilot: its edges are not known yet.
        batches: of the images, while the student trains on them with all
            levels: a descriptor may look at it.
        work_dir: takes the log.

    Raises:
        ExperimentFailed: the training failed.
    """
    cfg = _held_out(replace(pilot, iterations=batches))
    cfg.custom_hooks = [dict(type='mmrlkd.SeedHook')]  # begins to choose at once
    cfg.train_cfg.val_interval = batches + 1
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.custom_imports = dict(imports=[
        *cfg.get('custom_imports', {}).get('imports', []),
        'projects.experiments.recorder'])
    folder = work_dir.resolve() / 'descriptor'
    file = folder / 'values.txt'
    cfg.model.selector = dict(
        type='mmrlkd.RecordingSelector', descriptor=pilot.descriptor,
        file=str(file))
    (_, error), = train_many([Training(0, lambda: cfg, folder)], 1)
    if error:
        raise ExperimentFailed(
            f'--descriptor {pilot.descriptor} cannot be measured: {error}; '
            f'the log is {folder / "train.log"}.')
    return np.loadtxt(file)


def _held_out(pilot: Pilot) -> Config:
    cfg = load_config(pilot.config, pilot.method, pilot.options)
    check_distils(cfg)
    if not cfg.model.get('levels'):
        raise ExperimentFailed(
            f'{pilot.config}: model.levels is missing; accepted: the names of '
            "the levels that are to be measured, such as ('P3', 'P4').")
    settings = SearchSettings.of(cfg)
    if not settings.data:
        raise ExperimentFailed(
            f'{pilot.config}: search.data is missing; accepted: overrides that '
            'make a training see the images of search_train and be judged on '
            'those of search_val, see tools/datasets/hold_out.py.')
    cfg.merge_from_dict(dict(settings.data))
    if pilot.iterations is not None:
        shorten(cfg, pilot.iterations, pilot.iterations)
    cfg.model.min_levels = 0  # a group may be distilled at no level
    # Of the method's hooks only the phases stay: pilots have its warm-up.
    cfg.custom_hooks = [
        hook for hook in cfg.custom_hooks
        if hook['type'] in ('mmrlkd.SeedHook', 'mmrlkd.PhaseHook')]
    without_checkpoints(cfg)
    return cfg


def run_pilot(pilot: Pilot, work_dir: Path, jobs: int,
              say: Any = print) -> dict[str, Any]:
    """Train what the work dir lacks, and write :data:`WORTH`.

    Args:
        pilot: what.
        work_dir: holds the table of what is trained.
        jobs: trainings at a time.
        say: is told what ended.

    Returns:
        What :data:`WORTH` holds, see :func:`summarise`.

    Raises:
        ExperimentFailed: a training failed, or there are too few.
    """
    cfg = compose(pilot, 0)
    metric = SearchSettings.of(cfg).metric
    asked = json.dumps(dict(
        config=pilot.config.name, descriptor=pilot.descriptor,
        edges=pilot.edges, method=pilot.method, options=pilot.options,
        iterations=pilot.iterations), sort_keys=True)
    table = work_dir / TABLE
    rows = (pd.read_csv(table).to_dict('records') if table.is_file() else [])
    if rows and rows[0]['pilot'] != asked:
        raise ExperimentFailed(
            f'{table} is of another pilot ({rows[0]["pilot"]}); accepted: '
            f'{asked}, or another --work-dir.')
    names = [f'{level} of {group}' for group in range(pilot.groups)
             for level in cfg.model.levels]
    done = {row['training'] for row in rows}
    for task, error in train_many([
            Training(number, lambda number=number: compose(pilot, number),
                     work_dir / f'training_{number}')
            for number in range(pilot.trainings) if number not in done], jobs):
        found = None if error else read_evaluation(task.folder, metric)
        if found is None:
            raise ExperimentFailed(
                f'Training {task.key} failed ({error or f"no {metric}"}); its '
                f'log is {task.folder / "train.log"}. The same command '
                'continues.')
        rates = draw_rates(task.key, pilot.groups, len(cfg.model.levels))
        rows.append(dict(
            training=task.key, seed=pilot.seed(task.key),
            metric=found[metric], **dict(zip(names, rates.flatten().tolist())),
            pilot=asked))
        save_table(pd.DataFrame(rows).sort_values('training'), table)
        say(f'{len(rows)}/{pilot.trainings} trainings: {metric} '
            f'{found[metric]:.3f}')
    worth = summarise(pilot, cfg, pd.DataFrame(rows), metric, names)
    write_atomically(work_dir / WORTH, json.dumps(worth, indent=1).encode())
    return worth


def summarise(pilot: Pilot, cfg: Config, rows: pd.DataFrame, metric: str,
              names: Sequence[str]) -> dict[str, Any]:
    """The worth of each (group, level) and what it cost to know.

    Returns:
        ``descriptor``, ``edges``, ``levels``; ``worth`` and ``interval``
        (half widths, Student's t, 95 %), G × L, in units of ``metric``: what
        distilling all images of the group at the level adds; ``residual``,
        the standard deviation that is not explained; ``trainings``,
        ``images`` through the student.
    """
    effects = regress(rows[list(names)].to_numpy(float),
                      rows.metric.to_numpy(float), rows.seed.to_numpy())
    shape = pilot.groups, len(cfg.model.levels)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    judged = len(DATASETS.build(cfg.val_dataloader.dataset))
    # An iteration trains on a batch, an epoch on all images.
    unit = (batch_size(cfg) if 'max_iters' in cfg.train_cfg else
            len(DATASETS.build(cfg.train_dataloader.dataset)))
    return dict(
        descriptor=pilot.descriptor, edges=list(pilot.edges),
        levels=list(cfg.model.levels),
        worth=effects.coefficients.reshape(shape).tolist(),
        interval=effects.half_widths.reshape(shape).tolist(),
        metric=metric, residual=effects.residual, trainings=len(rows),
        images=len(rows) * ((loop_length(cfg) or 0) * unit + judged))
