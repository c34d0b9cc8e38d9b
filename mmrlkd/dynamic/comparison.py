"""Controllers, static settings, chance and the oracle on held-out images."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from .baselines import (
    Hull,
    best_static,
    bounded,
    controlled,
    oracle,
    random_feasible,
    static,
)
from .deployed import LoadedController
from .plan import TrainingPlan
from .table import ProfileTable
from .training import Trained, deploy

STATIC, BOUNDED, MIXED = 'static', 'static, bounded', 'static mix'
RANDOM, ORACLE = 'random', 'oracle'
#: Confidence of the intervals.
CONFIDENCE = 0.95


def split(table: ProfileTable, held_out: float, seed: int
          ) -> tuple[ProfileTable, ProfileTable]:
    """Training and held-out images, drawn at random.

    Raises:
        ValueError: one of them would have none.
    """
    count = round(len(table) * held_out)
    if not 0 < count < len(table):
        raise ValueError(
            f'budget.held_out={held_out} of {len(table)} images; accepted: a '
            'share that leaves images on both sides.')
    order = torch.randperm(
        len(table), generator=torch.Generator().manual_seed(seed))
    return (table.take(order[count:].sort().values),
            table.take(order[:count].sort().values))


def deployed(trained: Trained, name: str, training: ProfileTable,
             plan: TrainingPlan) -> LoadedController:
    """One of the trained controllers, as the runtime uses it."""
    return deploy(trained.controllers[name], trained.latency, trained.blind, name,
                  training, plan)


def compare(trained: Trained, training: ProfileTable, held_out: ProfileTable,
            plan: TrainingPlan, budgets: Iterable[float]
            ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each method does to held-out images within each budget.

    Args:
        trained: the controllers.
        training: the images that they, and the static settings, were chosen on.
        held_out: complete; the images of the comparison.
        plan: of the training.
        budgets: in ms.

    Returns:
        A row for each method and budget:

        - ``quality``, mean over the images;
        - ``latency_ms``, mean, with the time of the decision for whoever
          decides for each image;
        - ``within``, share of the images whose measured latency, with that
          time, is within the budget;
        - ``looked``, share of the images that were looked at;
        - ``infeasible``, share for which no setting was predicted to fit;
        - ``setting``, of static ones.

        The static setting keeps the budget on a share of the training images, the
        bounded one by the same bound as a controller's.

        And a row for each controller, budget and stratum of images: ``images``,
        their number; ``latency_ms``; and for each knob the mean place of what
        was chosen among its values, 0 the cheapest and 1 the dearest.
    """
    runtime = {name: deployed(trained, name, training, plan)
               for name in trained.controllers}
    any_controller = runtime[trained.algorithm]  # they share what is feasible
    hull = Hull.of(training)
    overhead = plan.overhead(training) + held_out.looking
    rows: list[dict[str, Any]] = []
    choices: list[dict[str, Any]] = []
    for budget in budgets:
        infeasible = 1 - any_controller.feasible(
            held_out.features, budget).float().mean().item()
        ways = {name: controlled(each, held_out, budget)
                for name, each in runtime.items()}
        choices += [row for name, way in ways.items()
                    for row in _by_stratum(name, budget, way, held_out)]
        looked = {name: float(each.looks(budget)[0])
                  for name, each in runtime.items()}
        ways |= {RANDOM: random_feasible(any_controller, held_out, budget),
                 ORACLE: oracle(held_out, budget, overhead)}
        looked |= {RANDOM: 1., ORACLE: 1.}
        rows += [dict(method=name, budget=budget, infeasible=infeasible,
                      looked=looked[name],
                      **_outcome(way, held_out, budget, looked[name] * overhead))
                 for name, way in ways.items()]
        setting = best_static(training, budget, trained.latency.quantile)
        for name, way in ((STATIC, static(held_out, setting)),
                          (BOUNDED, bounded(any_controller, held_out, budget))):
            rows.append(dict(
                method=name, budget=budget,
                setting=held_out.space.describe(int(way[0].argmax())),
                **_outcome(way, held_out, budget, 0.)))
        # Of the mean latency that the algorithm's controller spent.
        spent = next(row['latency_ms'] for row in rows
                     if (row['method'], row['budget'])
                     == (trained.algorithm, budget))
        rows.append(dict(
            method=MIXED, budget=budget,
            **_outcome(hull.mixed(held_out, spent), held_out, budget, 0.)))
    return rows, choices


def _outcome(way: Tensor, table: ProfileTable, budget: float,
             overhead: float | Tensor) -> dict[str, float]:
    latency = table.latency + overhead
    means = {'quality': table.quality, 'latency_ms': latency,
             'within': (latency <= budget).float()}
    return {name: (way * each).sum(1).mean().item()
            for name, each in means.items()}


def _by_stratum(method: str, budget: float, way: Tensor, table: ProfileTable
                ) -> Iterable[dict[str, Any]]:
    places = torch.tensor([table.space.choices(s) for s in range(len(table.space))])
    places = places / (torch.tensor(table.space.sizes) - 1).clamp(min=1)
    strata = np.array(table.difficulty)
    for stratum in sorted(set(table.difficulty)):
        some = torch.from_numpy(strata == stratum)
        mean = (way[some] @ places).mean(0).tolist()
        yield dict(
            method=method, budget=budget, difficulty=stratum,
            images=int(some.sum()),
            latency_ms=(way * table.latency)[some].sum(1).mean().item(),
            **dict(zip(table.space.names, mean, strict=True)))


def interval(values: pd.Series, held_out: float) -> dict[str, float]:
    """Mean over the seeds, and half the width of its 95 % interval.

    Each seed has images of its own to hold out, but seeds share images: their
    values are not independent. The variance is corrected for that as in Nadeau &
    Bengio 2003, "Inference for the generalization error"
    (https://doi.org/10.1023/A:1024068626366): s² (1/J + n_test / n_train).

    Args:
        values: (J,), one of each seed.
        held_out: share of the images that were held out.

    Returns:
        ``mean``, and ``half_width``, which is NaN of one seed.
    """
    count = len(values)
    half = np.nan if count < 2 else stats.t.ppf(
        (1 + CONFIDENCE) / 2, count - 1) * values.std(ddof=1) * np.sqrt(
            1 / count + held_out / (1 - held_out))
    return {'mean': float(values.mean()), 'half_width': float(half)}


def paired(rows: pd.DataFrame, method: str, other: str, held_out: float,
           column: str = 'quality') -> pd.DataFrame:
    """How far a method is above another one at each budget.

    The difference is taken within each seed, which has the same images for both.

    Args:
        rows: of :func:`compare`, with a column ``seed``.
        method: name of one.
        other: name of another one.
        held_out: see :func:`interval`.
        column: that is compared.

    Returns:
        ``mean`` and ``half_width`` of :func:`interval` by budget.
    """
    def of(name: str) -> pd.Series:
        return rows[rows.method == name].set_index(['budget', 'seed'])[column]

    differences = of(method) - of(other)
    return pd.DataFrame.from_dict(
        {budget: interval(values, held_out)
         for budget, values in differences.groupby('budget')}, orient='index')
