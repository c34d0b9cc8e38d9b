from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmrlkd.evaluation.results import Example, Results, RunResult
from mmrlkd.evaluation.tasks import TASKS

LEVELS = ('P2', 'P3', 'P4', 'P5')
STRATA = ('1-3', '4-7', '8-10', '>10', 'dense_small')

#: Costs of each method, as a real run has them.
COSTS = {
    'student': (None, None, None, None, None),
    'kd': (None, None, None, None, None),
    'teacher': (None, None, None, None, None),
    'uniform': (4.0, 7.5, 0.4, 0.0, 5.0),
    'ppo': (3.0, 4.5, 0.2, 0.1, 5.0),
}


def make_run(method: str, mean_ap: float, seed: int = 0,
             slope: float = 0.2, task: str = 'detection') -> RunResult:
    """A run; ``slope`` is how much more P2 a harder stratum gets."""
    levels, cost, gflops, reward, trunk = COSTS[method]
    judged = TASKS[task]
    strata = STRATA if judged.by_difficulty else ()
    rates = {s: dict.fromkeys(LEVELS, 1.0) for s in ('all', *strata)}
    if method == 'ppo':
        for i, stratum in enumerate(strata):
            rates[stratum]['P2'] = slope * i
        rates['all']['P2'] = 2 * slope
    curves = {'loss': [[50, 2.0], [100, 1.0]], 'time': [[50, .5], [100, .5]]}
    if levels:
        curves |= {'loss_distill': [[50, 1.0], [100, 0.5]],
                   'levels_per_image': [[50, levels], [100, levels]]}
    if method == 'ppo':
        curves |= {'reward': [[100, 1.0]], 'policy_entropy': [[100, 2.0]]}
    if method == 'kd':
        curves |= {'loss_logits': [[50, 0.5], [100, 0.25]]}
    return RunResult(
        method, seed,
        {m.name: None if m.name == 'APl' else mean_ap for m in judged.metrics},
        dict.fromkeys(strata, mean_ap), 100, 60 if method == 'ppo' else 100,
        levels, cost, gflops, reward, 0.5, 50.0, trunk_gflops=trunk,
        parameters=900_000, adaptive=method == 'ppo',
        selection=rates if levels else {},
        phases=[['pretrain', 40], ['policy', 60]] if method == 'ppo' else [],
        curves=curves, task=task,
        logit_gflops=0.1 if method == 'kd' else None)


@pytest.fixture
def make_results(tmp_path: Path) -> Callable[..., Results]:
    """Results of methods whose mAPs, one for each seed, are given."""

    def make(ppo: tuple[float, ...] = (.40, ),
             uniform: tuple[float, ...] = (.38, ),
             student: tuple[float, ...] = (.35, ),
             slope: float = 0.2, kd: tuple[float, ...] = (),
             task: str = 'detection') -> Results:
        path = tmp_path / 'image.png'
        cv2.imwrite(str(path), np.full((32, 32, 3), 90, np.uint8))
        runs = [make_run('teacher', .45, task=task)]
        for method, values in (('student', student), ('kd', kd),
                               ('uniform', uniform), ('ppo', ppo)):
            runs += [make_run(method, value, seed, slope, task)
                     for seed, value in enumerate(values)]
        return Results(
            {'command': 'python tools/demo.py', 'probe_size': 256}, runs,
            [Example(str(path), stratum, [[2, 3, 10, 12]],
                     {'ppo': ['P2', 'P5']}) for stratum in STRATA[:2]
             if TASKS[task].by_difficulty])

    return make
