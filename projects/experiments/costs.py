"""What finding out which levels to distil cost."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from mmengine.config import Config

from mmrlkd.engine import phase_hook
from mmrlkd.search.found import HISTORY, INCUMBENT

from .logs import mean_of

#: Phases in which a selector is searched for; in the final one it and the
#: student learn together.
_SEARCHING = ('policy', 'search')


class SearchCost(NamedTuple):
    """Images that went through the student, and seconds of wall clock; of what
    ran side by side, the sum."""
    images: int = 0
    seconds: float = 0.0


def batch_size(cfg: Config) -> int:
    """Images of a training iteration, in one process."""
    return cfg.train_dataloader.get('batch_size', 1)


def read_candidates(history: Path) -> Iterator[dict[str, Any]]:
    """What a search evaluated, one line each after the header; a killed
    search may cut the last."""
    if not history.is_file():
        return
    for line in history.read_text().splitlines()[1:]:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def cost_of_search(folder: Path) -> SearchCost:
    """Of a search by itself.

    Args:
        folder: its work dir. The incumbent knows the whole cost, also of what
            the candidates shared; the history, each candidate's. One that was
            met before costs nothing.
    """
    incumbent = folder / INCUMBENT
    parts = ([json.loads(incumbent.read_text())] if incumbent.is_file() else
             [trial for trial in read_candidates(folder / HISTORY)
              if not trial['repeated']])
    return SearchCost(sum(part['images'] for part in parts),
                      sum(part['seconds'] for part in parts))


def phases_of(cfg: Config, iterations: int) -> list[tuple[str, float, int]]:
    """Name of each phase, its iterations, and iterations from one step of its
    search to the next (0: it searches nothing)."""
    phases = phase_hook.phases_of(cfg)
    # Shares are of the student's updates, not of the run.
    lengths = [phase.share * phase.student_every for phase in phases]
    unit = iterations / (sum(lengths) or 1)
    return [(phase.name, unit * length,
             phase.learn_every if phase.name in _SEARCHING else 0)
            for phase, length in zip(phases, lengths)]


def iterations_of(cfg: Config, training: pd.DataFrame) -> int:
    """Iterations of a run; of one that counts epochs, the last that was logged.

    Args:
        cfg: of the run.
        training: see :func:`.logs.read_training`.
    """
    if 'max_iters' in cfg.train_cfg:
        return phase_hook.loop_length(cfg) or 0
    return 0 if training.empty else int(training.index[-1])


def warm_up(cfg: Config, iterations: int) -> int:
    """Iterations before the selector begins to choose.

    Args:
        cfg: of the run.
        iterations: that it trains, with those that do not update the student.
    """
    phases = phase_hook.phases_of(cfg)
    if not phases:
        return 0
    train_cfg = cfg.train_cfg
    # In iterations or epochs, as the run counts.
    lengths = phase_hook.lengths_of(
        train_cfg.get('max_iters') or train_cfg.max_epochs, phases)
    chosen = next((i for i, phase in enumerate(phases) if phase.choose), None)
    return round(iterations * sum(lengths[:chosen]) / sum(lengths))


def cost_after_warm_up(cfg: Config, iterations: int,
                       training: pd.DataFrame) -> float:
    """Nominal cost of distilling an image, mean over the iterations in which
    the selector chose; NaN where nothing was distilled.

    Args:
        cfg: of the run.
        iterations: that it trained.
        training: see :func:`.logs.read_training`.
    """
    start = warm_up(cfg, iterations)
    after = training[training.index > start]
    return mean_of(after.set_index(after.index - start), iterations - start,
                   'distill_cost')


def cost_of_phases(cfg: Config, iterations: int,
                   times: pd.Series) -> SearchCost:
    """Of the phases in which the selector learns, without the final one in
    which the student learns with it. A batch is held out for each time that
    it learns, if it needs that.

    Args:
        cfg: of the run.
        iterations: that it trained.
        times: seconds of an iteration as logged, by the iteration: mean of
            those since the last record.
    """
    ends = [0.0, *times.index[:-1], float(iterations)]
    held_out = sum(hook['dataloader'].get('batch_size', 1)
                   for hook in cfg.get('custom_hooks') or []
                   if str(hook['type']).endswith('HeldOutHook'))
    begin, images, seconds = 0.0, 0.0, 0.0
    for _, length, every in phases_of(cfg, iterations):
        end = begin + length
        if every:
            images += length * (batch_size(cfg) + held_out / every)
            seconds += sum(
                value * max(min(end, last) - max(begin, first), 0)
                for (first, last), value in zip(pairwise(ends), times))
        begin = end
    return SearchCost(round(images), seconds)
