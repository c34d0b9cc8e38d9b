"""What a controller does on a test set, measured end to end."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .budgeted import BudgetedModel, Decision
from .machine import clock_ms

#: Takes the samples with their predictions, and the data they are of.
Collect = Callable[[list, Any], None]


@dataclass(frozen=True)
class Measured:
    """One image; latencies in ms.

    Attributes:
        stratum: its difficulty; None without.
        decision: how it was run.
        latency: with the controller: looking, choosing and running.
        direct: of a run in the same setting that was given, not chosen, and set
            before the clock starts.
        quality: of the prediction, in [0, 1].
        static: of a run in the static setting; None without.
        static_quality: likewise.
    """
    stratum: str | None
    decision: Decision
    latency: float
    direct: float
    quality: float
    static: float | None = None
    static_quality: float | None = None


def measure(budgeted: BudgetedModel, images: Iterable[Any], budget_ms: float,
            collect: Collect, static: int | None = None,
            collect_static: Collect | None = None, seed: int = 0
            ) -> list[Measured]:
    """Run every image within the budget, one at a time.

    The clock runs as in the profile, from the preprocessed image on the device to
    the prediction. The runs of an image that are compared follow each other, with
    nothing between them, in an order that is drawn anew for each.

    Args:
        budgeted: the model.
        images: collated data of one image each, with annotations.
        budget_ms: of each image.
        collect: is given the predictions.
        static: a setting to run every image in, for comparison.
        collect_static: is given its predictions.
        seed: of the order of runs.
    """
    order, quality = random.Random(seed), budgeted.parts.quality
    measured = []
    for data in images:
        batch = budgeted.preprocess(data)
        stratum = quality.difficulty(batch['data_samples'][0])
        # A model's first run in a setting is slow, and tells the setting.
        _, (first, ) = budgeted.predict(batch, budget_ms)
        runs = {'latency': None, 'direct': first.setting} | (
            {} if static is None else {'static': static})
        found = {name: _run(budgeted, batch, budget_ms, runs[name])
                 for name in order.sample(list(runs), len(runs))}
        numbers: dict[str, Any] = {name: time for name, (*_, time) in found.items()}
        samples, (decision, ), _ = found['latency']
        numbers |= dict(decision=decision, quality=quality(samples[0]).quality)
        collect(samples, data)
        if collect_static and 'static' in found:
            samples, *_ = found['static']
            numbers['static_quality'] = quality(samples[0]).quality
            collect_static(samples, data)
        measured.append(Measured(stratum=stratum, **numbers))
    return measured


def _run(budgeted: BudgetedModel, batch: dict[str, Any], budget_ms: float,
         setting: int | None) -> tuple[list, list[Decision], float]:
    """A run in a setting, or where there is none in the one that is chosen; and the
    time it took, in ms. The batch's samples get no predictions."""
    device, parts = batch['inputs'].device, budgeted.parts
    batch = dict(batch, data_samples=[
        sample.clone() for sample in batch['data_samples']])
    if setting is None:
        begin = clock_ms(device)
        samples, decisions = budgeted.predict(batch, budget_ms)
        return samples, decisions, clock_ms(device) - begin
    with parts.space.set(setting):
        begin = clock_ms(device)
        with torch.no_grad():  # as every run needs
            samples = parts.model(**batch, mode='predict')
        return samples, [], clock_ms(device) - begin


def summarise(measured: Sequence[Measured]) -> dict[str, Any]:
    """The numbers of a budget, JSON-able.

    Returns:
        ``latency_ms`` with ``mean``, ``p50``, ``p95`` and ``p99``; ``within``, the
        share of images within their budget; ``infeasible``, the share for which no
        setting was predicted to fit; ``looked``, the share that was looked at;
        ``quality``, mean; ``overhead_ms`` and
        ``overhead``, median time that looking and choosing add to a run in the
        chosen setting, and as a share of that run; ``overhead_total``, the sum of
        what they add as a share of that of the runs; ``settings``, for each stratum
        the number of images in each setting; ``static`` with the first four
        of the static setting, if there was one.
    """
    budgets = np.array([each.decision.budget_ms for each in measured])

    def outcome(latency: Sequence[float], quality: Sequence[float]
                ) -> dict[str, Any]:
        times = np.array(latency)
        return dict(
            latency_ms=dict(mean=times.mean(), **{
                f'p{q}': np.percentile(times, q) for q in (50, 95, 99)}),
            within=(times <= budgets).mean(), quality=np.mean(quality))

    extra = np.array([each.latency - each.direct for each in measured])
    share = extra / [each.direct for each in measured]
    settings: dict[str, Counter] = defaultdict(Counter)
    for each in measured:
        words = ' '.join(f'{name}={value}' for name, value
                         in each.decision.values.items())
        settings[each.stratum or 'all'][words] += 1
    return _plain(dict(
        images=len(measured),
        **outcome([each.latency for each in measured],
                  [each.quality for each in measured]),
        infeasible=np.mean([not each.decision.feasible for each in measured]),
        looked=np.mean([each.decision.looked for each in measured]),
        overhead_ms=np.median(extra), overhead=np.median(share),
        overhead_total=extra.sum() / sum(each.direct for each in measured),
        settings=settings,
        static=None if measured[0].static is None else outcome(
            [each.static or 0. for each in measured],
            [each.static_quality or 0. for each in measured])))


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value
