"""What compared runs left in a work dir, read from their histories alone."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmrlkd.engine.phase_hook import loop_length
from mmrlkd.evaluation.estimate import estimate
from mmrlkd.evaluation.results import RunResult, read_log, read_run
from mmrlkd.evaluation.tasks import DETECTION, Task
from mmrlkd.search.found import FOUND, HISTORY

from .accounting import (
    FAMILIES,
    SearchCost,
    batch_size,
    cost_of_phases,
    cost_of_search,
    family,
)
from .front import FRONT, fixed_subset, non_dominated, subset_name
from .run import TEACHER, end_of, newest_checkpoint

#: Families whose levels need no search; LAD's are found anew for each image.
_KNOWN_BEFORE = ('none', 'logits', 'fixed', 'random', 'greedy')


@dataclass(frozen=True)
class ComparedRun(RunResult):
    """One trained model, and what came before it.

    Attributes:
        family: one of :data:`.accounting.FAMILIES`.
        subset: levels that every image gets, with equal weights; None if that
            is not what the config does.
        levels: names there are to choose from.
        train_images: of all training iterations.
        search_images: through the student, to find out which levels to
            distil. In RL they are part of the training, else they came first.
        search_seconds: wall clock of that.
    """
    family: str = 'none'
    subset: tuple[str, ...] | None = None
    levels: tuple[str, ...] = ()
    train_images: int = 0
    search_images: int = 0
    search_seconds: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison shows.

    Attributes:
        members: of all methods and seeds that somebody named; the teacher's
            first, then by family.
        subsets: those trained only to know all of them, by rising cost.
        missing: names of runs that began and are not finished.
    """
    members: list[ComparedRun]
    subsets: list[ComparedRun]
    missing: list[str]

    @property
    def task(self) -> Task:
        """What its runs are measured by, all alike."""
        return self.members[0].judged if self.members else DETECTION

    @property
    def fixed(self) -> dict[str, list[ComparedRun]]:
        """The runs of each fixed subset, by method."""
        return by_method(run for run in (*self.members, *self.subsets)
                         if run.subset)

    @property
    def possible(self) -> int:
        """How many subsets there are."""
        return 2**max((len(run.levels) for run in self.members), default=0) - 1

    @property
    def exhaustive(self) -> bool:
        """Whether every subset was trained."""
        subsets = {runs[0].subset for runs in self.fixed.values()}
        return len(subsets) == self.possible > 0

    @property
    def best_fixed(self) -> list[ComparedRun] | None:
        """The subset of the highest mean quality; of equals the cheapest."""
        points = self._points()
        if not points:
            return None
        return self.fixed[min(
            points, key=lambda name: (-points[name][1], points[name][0]))]

    @property
    def front(self) -> list[str]:
        """Methods of the subsets that none is better than, by cost."""
        return non_dominated(self._points())

    def _points(self) -> dict[str, tuple[float, float]]:
        return {method: (_mean(runs, lambda run: run.distill_cost),
                         _mean(runs, lambda run: run.quality))
                for method, runs in self.fixed.items()}


def by_method(runs) -> dict[str, list[ComparedRun]]:
    """The runs of each method, in order of first appearance."""
    methods: dict[str, list[ComparedRun]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(run)
    return methods


def read_comparison(work_dir: Path, methods: Collection[str] = (),
                    front: bool = True) -> Comparison:
    """Read every finished run of a work dir.

    Args:
        work_dir: of the comparison; no model and no data need be there.
        methods: names of those wanted; none for all.
        front: whether the other fixed subsets are wanted.
    """
    members, subsets, missing = [], [], []
    for method, seed, folder in _folders(work_dir):
        if methods and method not in (TEACHER, *methods):
            continue
        run = _read(method, seed, folder)
        if run is None:
            missing.append(f'{method}, seed {seed}')
        else:
            members.append(run)
    if front:
        for method, seed, folder in _folders(work_dir / FRONT):
            run = _read(method, seed, folder)
            if run is None:
                missing.append(f'{method}, seed {seed}')
            else:
                subsets.append(run)
    members.sort(key=lambda run: (
        run.method != TEACHER, FAMILIES.index(run.family), run.method,
        run.seed))
    subsets.sort(key=lambda run: (
        run.distill_cost, subset_name(run.subset or ()), run.seed))
    return Comparison(members, subsets, missing)


def _folders(work_dir: Path) -> Iterator[tuple[str, int, Path]]:
    """Method, seed and folder of everything that began to train."""
    if (work_dir / TEACHER).is_dir():
        yield TEACHER, 0, work_dir / TEACHER
    for folder in sorted(work_dir.glob('*/seed_*/')):
        seed = folder.name.removeprefix('seed_')
        if seed.isdigit() and folder.parent.name != TEACHER:
            yield folder.parent.name, int(seed), folder


def _read(method: str, seed: int, folder: Path) -> ComparedRun | None:
    """One run; None while it is not finished."""
    searched = (folder / HISTORY).parent.is_dir()
    trained = folder / 'train' if searched else folder
    configs = ([trained / FOUND] if searched else
               sorted(trained.glob('*.py')))
    if not configs or not configs[0].is_file():
        return None
    # What it imports might not be here.
    cfg = Config.fromfile(configs[0], import_custom_modules=False)
    log = read_log(trained)
    if (Path(newest_checkpoint(trained) or '').stem != end_of(cfg)
            or log.evaluation is None or not log.training):
        return None
    result = read_run(
        trained, method, seed, loop_length(cfg)
        if 'max_iters' in cfg.train_cfg else None)
    kind = family(cfg, searched)
    search = SearchCost()
    if searched:
        search = cost_of_search(folder)
    elif kind not in _KNOWN_BEFORE:
        search = cost_of_phases(
            cfg, result.iterations, result.curves['time'])
    facts: dict[str, Any] = vars(replace(result, curves={}))
    return ComparedRun(
        **facts, family=kind,
        subset=None if searched else fixed_subset(cfg),
        levels=tuple(cfg.model.get('levels', ())),
        train_images=result.iterations * batch_size(cfg),
        search_images=search.images, search_seconds=search.seconds)


def _mean(runs: list[ComparedRun],
          read: Callable[[ComparedRun], float | None]) -> float:
    return estimate([read(run) or 0.0 for run in runs]).mean
