"""What a run is, and what its choice of levels cost to find."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mmengine.config import Config

from mmrlkd.config.student import is_distiller
from mmrlkd.engine.phase_hook import phases_of
from mmrlkd.search.found import HISTORY, INCUMBENT
from mmrlkd.structures import Phase

from .searching import read_candidates

#: In the order of a table.
FAMILIES = ('none', 'logits', 'fixed', 'random', 'learned weights', 'greedy',
            'RL', 'search', 'other')
_FAMILY = {
    'NoneSelector': 'none',
    'UniformSelector': 'fixed',
    'ManualDeepSelector': 'fixed',
    'ManualShallowSelector': 'fixed',
    'FixedSelector': 'fixed',
    'RandomSelector': 'random',
    'GatedSelector': 'learned weights',
    'GreedySelector': 'greedy',
    'PolicySelector': 'RL',
    'DARTSSelector': 'search',
    'GDASSelector': 'search',
}
#: Phases in which a selector is searched for; in the final one it and the
#: student learn together.
_SEARCHING = ('policy', 'search')


@dataclass(frozen=True)
class SearchCost:
    """What finding out which levels to distil cost.

    Attributes:
        images: that went through the student.
        seconds: of wall clock; of what ran side by side, the sum.
    """
    images: int = 0
    seconds: float = 0.0


def family(cfg: Config, searched: bool) -> str:
    """Where a config belongs in a table, one of :data:`FAMILIES`."""
    if searched:
        return 'search'
    if not is_distiller(cfg):
        return 'none'
    found = _FAMILY.get(cfg.model.selector.type.rpartition('.')[2], 'other')
    return 'logits' if found == 'none' and cfg.model.get('logit_loss') else found


def batch_size(cfg: Config) -> int:
    """Images of a training iteration, in one process."""
    return cfg.train_dataloader.get('batch_size', 1)


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


def cost_of_phases(cfg: Config, iterations: int,
                   times: Iterable[list[float]]) -> SearchCost:
    """Of the phases in which the selector learns, without the final one in
    which the student learns with it. A batch is held out for each time that
    it learns, if it needs that.

    Args:
        cfg: of the run.
        iterations: that it trained.
        times: ``[iteration, seconds]`` as logged: mean of the iterations
            since the last record.
    """
    phases = phases_of(cfg)
    # Of the run, not of the student's updates.
    lengths = [phase.share * phase.student_every for phase in phases]
    unit = iterations / (sum(lengths) or 1)
    times = list(times)
    ends = [0.0, *(at for at, _ in times[:-1]), float(iterations)]
    begin, images, seconds = 0.0, 0.0, 0.0
    for phase, length in zip(phases, lengths, strict=True):
        end = begin + unit * length
        every = _learns_every(phase)
        if every:
            images += (end - begin) * (
                batch_size(cfg) + _held_out(cfg) / every)
            seconds += sum(
                value * max(min(end, last) - max(begin, first), 0)
                for (first, last), (_, value) in zip(
                    pairwise(ends), times, strict=True))
        begin = end
    return SearchCost(round(images), seconds)


def _learns_every(phase: Phase) -> int:
    """Iterations from one step of the search to the next; 0 if there is none
    in this phase."""
    return phase.learn_every if phase.name in _SEARCHING else 0


def _held_out(cfg: Config) -> int:
    """Images of a held-out batch."""
    return sum(hook['dataloader'].get('batch_size', 1)
               for hook in cfg.get('custom_hooks', [])
               if hook['type'] == 'mmrlkd.HeldOutHook')
