"""Every fixed subset of the levels, and those that none is better than."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from mmengine.config import Config

from mmrlkd.config.student import is_distiller
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.search.settings import searches

from .runs import ExperimentFailed, Run

#: Folder of the subsets, in the work dir.
FRONT = 'front'


def all_subsets(levels: Sequence[str]) -> list[tuple[str, ...]]:
    """The 2^L − 1 that are not empty, the smallest first."""
    return [subset for size in range(1, len(levels) + 1)
            for subset in combinations(levels, size)]


def subset_name(levels: Sequence[str]) -> str:
    """``'P3+P5'``."""
    return '+'.join(levels)


def fixed_subset(cfg: Config) -> tuple[str, ...] | None:
    """The levels that a config gives to every image, with equal weights;
    None if it does anything else."""
    if not is_distiller(cfg) or searches(cfg):
        return None
    levels, selector = cfg.model.levels, cfg.model.selector
    kind = selector.type.rpartition('.')[2]
    if kind == 'UniformSelector':
        return tuple(levels)
    if kind != 'FixedSelector':
        return None
    weights = selector.get('weights') or dict.fromkeys(selector.levels, 1)
    if len(set(weights.values())) > 1:
        return None
    return tuple(level for level in levels if level in weights)


def front_runs(work_dir: Path, runs: Sequence[Run]) -> list[Run]:
    """A run for every subset and seed that is not among the others.

    They inherit from the first config that gives one subset to every image,
    its method included; their configs are written to the work dir.

    Args:
        work_dir: of the comparison.
        runs: the others.

    Raises:
        ExperimentFailed: there is no config to inherit from.
    """
    fixed = [run for run in runs if fixed_subset(run.cfg)]
    if not fixed:
        raise ExperimentFailed(
            '--front: none of the configs distils one subset of the levels, '
            'so there is nothing for the others to inherit from; accepted: a '
            'config with mmrlkd.UniformSelector or mmrlkd.FixedSelector '
            'beside them, as with --method uniform, or --no-front.')
    base = fixed[0]
    there = {fixed_subset(run.cfg) for run in fixed
             if _but_selector(run.cfg) == _but_selector(base.cfg)}
    seeds = dict.fromkeys(run.seed for run in runs)
    parent = work_dir / FRONT / 'parent.py'
    write_atomically(parent, base.cfg.pretty_text.encode())
    front = []
    for subset in all_subsets(base.cfg.model.levels):
        if subset in there:
            continue
        name = subset_name(subset)
        folder = work_dir / FRONT / name
        config = folder / f'{name}.py'
        write_atomically(config, _config(subset).encode())
        front += [replace(base, method=name, seed=seed, config=config,
                          recipe=None, folder=folder / f'seed_{seed}')
                  for seed in seeds]
    return front


def non_dominated(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Those that no other point equals or beats in both and beats in one.

    Args:
        points: cost and quality of each.

    Returns:
        Names by rising cost.
    """
    best = [
        name for name, (cost, quality) in points.items() if not any(
            c <= cost and q >= quality and (c, q) != (cost, quality)
            for c, q in points.values())
    ]
    return sorted(best, key=lambda name: points[name])


def _config(subset: tuple[str, ...]) -> str:
    return ("_base_ = ['../parent.py']\n"
            'model = dict(\n    selector=dict(\n        _delete_=True, '
            f"type='mmrlkd.FixedSelector', levels={subset!r}))\n")


def _but_selector(cfg: Config) -> dict:
    plain = cfg.to_dict()
    plain.pop('method', None)  # its name
    del plain['model']['selector']
    return plain
