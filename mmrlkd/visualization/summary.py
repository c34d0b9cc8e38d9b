"""Numbers of a method, over its seeds."""

from collections.abc import Callable
from operator import attrgetter

from mmrlkd.evaluation.estimate import Estimate, estimate
from mmrlkd.evaluation.results import Results, RunResult

#: Reads a number off a run; None where the run has none.
Read = Callable[[RunResult], float | None]


def summarise(runs: list[RunResult], read: Read) -> Estimate | None:
    """Estimate over a method's seeds; None unless all have the number."""
    values = [value for run in runs if (value := read(run)) is not None]
    return estimate(values) if len(values) == len(runs) else None


def measured(runs: list[RunResult], read: Read) -> Estimate:
    """Estimate of a number that every run of the kind has.

    Raises:
        ValueError: a run lacks it.
    """
    found = summarise(runs, read)
    if found is None:
        raise ValueError(
            f'a run of {runs[0].method!r} lacks a number that every run of '
            'its kind has; accepted: results of finished runs.')
    return found


def attribute(name: str) -> Read:
    """A field of the run."""
    return attrgetter(name)


def metric(name: str) -> Read:
    """A metric of the run's task, in points."""
    return lambda run: _points(run.metrics[name])


def quality(run: RunResult) -> float | None:
    """The main metric of the run's task, in points."""
    return _points(run.quality)


def stratum_quality(stratum: str) -> Read:
    """The main metric on the images of a stratum, in points."""
    return lambda run: _points(run.by_difficulty.get(stratum))


def chosen_levels(run: RunResult) -> float | None:
    """Levels an image, as the trained selector chooses."""
    return sum(run.selection['all'].values()) if run.selection else None


def distill_gflops(run: RunResult) -> float | None:
    """GFLOPs of the levels distilled, those the reward looks at, and the
    logits."""
    parts = [part for part in (run.distill_gflops, run.reward_gflops,
                               run.logit_gflops) if part is not None]
    return sum(parts) if parts else None


def minutes(run: RunResult) -> float:
    """Wall-clock of the whole training."""
    return run.train_seconds / 60


def mega_parameters(run: RunResult) -> float | None:
    """Millions of weights at inference."""
    return None if run.parameters is None else run.parameters / 1e6


def mean_rates(runs: list[RunResult]) -> dict[str, dict[str, float]]:
    """Selection rates by stratum and level, mean over the seeds."""
    known = [run.selection for run in runs if run.selection]
    if not known:
        return {}
    return {
        stratum: {
            level: sum(rates[stratum][level] for rates in known) / len(known)
            for level in levels
        }
        for stratum, levels in known[0].items()
    }


def adaptive_methods(results: Results) -> dict[str, list[RunResult]]:
    """Methods whose levels depend on the image, where rates are known."""
    return {
        method: runs for method, runs in results.by_method().items()
        if runs[0].adaptive and runs[0].selection
    }


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share
