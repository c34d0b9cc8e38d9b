"""What finished runs achieved and what it cost, read from their work dirs."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from .tasks import DETECTION, TASKS, Task, task_of

#: Logged, but no curve that anyone looks at.
_NO_CURVES = ('iter', 'step', 'data_time', 'memory')

Record = dict[str, float]


@dataclass(frozen=True)
class RunResult:
    """One trained model.

    Attributes:
        method: name of the config, e.g. ``'ppo'``.
        seed: of the run.
        metrics: those of its task by name, in [0, 1]; None where no object
            counts for it.
        by_difficulty: the main metric for each stratum of validation images.
        iterations: training iterations run.
        student_updates: those that updated the model.
        levels_per_image: selected levels, mean over the iterations; None for
            a run that distils nothing.
        distill_cost: their nominal cost per image and iteration.
        distill_gflops: counted, per probe image, of the selected levels.
        reward_gflops: counted, of the levels computed for the reward only.
        logit_gflops: counted, of what the teacher runs for its logits; None
            for a run that does not look at them.
        trunk_gflops: counted, of what the teacher runs for every image.
        seconds_per_iteration: mean wall-clock of a training iteration.
        train_seconds: their sum.
        parameters: weights of the trained model, teacher not counted.
        adaptive: whether the levels depend on the image.
        selection: share of validation images that get each level, for each
            stratum and ``'all'``, chosen as in evaluation.
        phases: ``[[name, iterations], …]``, in order.
        curves: logged scalars by name, as ``[[iteration, value], …]``.
        task: name of its :class:`~mmrlkd.evaluation.tasks.Task`.
    """
    method: str
    seed: int
    metrics: dict[str, float | None]
    by_difficulty: dict[str, float]
    iterations: int
    student_updates: int
    levels_per_image: float | None
    distill_cost: float | None
    distill_gflops: float | None
    reward_gflops: float | None
    seconds_per_iteration: float
    train_seconds: float
    trunk_gflops: float | None = None
    parameters: int | None = None
    adaptive: bool = False
    selection: dict[str, dict[str, float]] = field(default_factory=dict)
    phases: list[list[Any]] = field(default_factory=list)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    task: str = DETECTION.name
    logit_gflops: float | None = None

    @property
    def distils(self) -> bool:
        """Whether the run learnt from levels of a teacher's pyramid."""
        return self.levels_per_image is not None

    @property
    def judged(self) -> Task:
        """What it is measured by."""
        return TASKS[self.task]

    @property
    def quality(self) -> float | None:
        """The main metric."""
        return self.metrics[self.judged.main.name]


@dataclass(frozen=True)
class Example:
    """A validation image and what it got.

    Attributes:
        path: of the image.
        stratum: its difficulty.
        boxes: of its objects, as ``[x, y, width, height]`` in pixels.
        levels: names of the selected levels, for each adaptive method.
    """
    path: str
    stratum: str
    boxes: list[list[float]]
    levels: dict[str, list[str]]


@dataclass(frozen=True)
class Results:
    """Everything that a report is made of.

    Attributes:
        header: where the runs come from: dataset, command, versions, machine.
        runs: of all methods and seeds.
        examples: a few validation images.
    """
    header: dict[str, Any]
    runs: list[RunResult]
    examples: list[Example] = field(default_factory=list)

    @property
    def task(self) -> Task:
        """What its runs are measured by, all alike."""
        return self.runs[0].judged if self.runs else DETECTION

    def by_method(self) -> dict[str, list[RunResult]]:
        """The runs of each method, in order of first appearance."""
        methods: dict[str, list[RunResult]] = {}
        for run in self.runs:
            methods.setdefault(run.method, []).append(run)
        return methods

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + '\n'


def loads(text: str) -> Results:
    """Take back :meth:`Results.dumps`.

    Raises:
        ValueError: the text is something else.
    """
    try:
        plain = json.loads(text)
        return Results(
            plain['header'], [_load_run(run) for run in plain['runs']],
            [Example(**example) for example in plain['examples']])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'these are no results ({error!r}); accepted: a results.json '
            'that tools/demo.py wrote.') from error


def _load_run(plain: dict[str, Any]) -> RunResult:
    """Take back a run; detection's strata once had a name of their own."""
    run = {**plain}
    if 'mAP_by_difficulty' in run:
        run['by_difficulty'] = run.pop('mAP_by_difficulty')
    return RunResult(**run)


@dataclass(frozen=True)
class RunLog:
    """Every record that mmengine wrote about a run.

    Attributes:
        training: one for each logged iteration, in order; of an iteration
            logged twice, as a resumed run does, the newer.
        evaluation: metrics of the newest evaluation, if no training followed
            it.
    """
    training: list[Record]
    evaluation: Record | None


def read_log(work_dir: str | Path) -> RunLog:
    """Read a run's logs, of all the times it was resumed.

    Validation is logged among the training records, a test by itself; both
    are evaluations.
    """
    training: dict[int, Record] = {}
    evaluation = None
    for folder in sorted(Path(work_dir).glob('*/')):
        for record in (*_records(folder / 'vis_data' / 'scalars.json'),
                       *_records(folder / f'{folder.name}.json')):
            if 'iter' in record:
                training[int(record['iter'])] = record
                evaluation = None
            elif task_of(record) is not None:
                evaluation = record
    return RunLog([training[key] for key in sorted(training)], evaluation)


def newest_record(work_dir: str | Path) -> Record | None:
    """The last training record of a run that may still be running."""
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    records = [r for r in _records(files[-1]) if 'iter' in r] if files else []
    return records[-1] if records else None


def _records(file: Path) -> Iterator[Record]:
    """The records of a file, one a line; a killed run may cut the last."""
    if not file.is_file():
        return
    for line in file.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield record


def read_run(work_dir: str | Path, method: str, seed: int,
             iterations: int | None = None) -> RunResult:
    """What the logs tell about a run; the rest keeps its defaults.

    Args:
        work_dir: of the run; it trained with an interval of logging equal to
            the window its scalars are averaged over.
        method: its name.
        seed: its seed.
        iterations: how long it trained, where that is no multiple of the
            interval; the last record speaks for the rest.

    Raises:
        ValueError: the run was not evaluated, so it is not finished.
    """
    log = read_log(work_dir)
    training, last = log.training, log.evaluation
    task = None if last is None else task_of(last)
    if not training or last is None or task is None:
        raise ValueError(
            f'{work_dir} holds no finished run: it was not evaluated after '
            'its last iteration.')
    known = {metric.key for metric in task.metrics}
    prefix = f'{task.main.key}_'
    iterations = iterations or int(training[-1]['iter'])
    spans = _spans(training, iterations)
    seconds = _mean(training, spans, 'time') or 0.0
    updates = sum(span * record.get('updates_student', 1.0)
                  for span, record in zip(spans, training, strict=True))
    return RunResult(
        method=method,
        seed=seed,
        metrics={metric.name: metric.read(last) for metric in task.metrics},
        by_difficulty={
            key.removeprefix(prefix): value / task.main.whole
            for key, value in last.items()
            if key.startswith(prefix) and key not in known
            and isinstance(value, int | float)
        },
        iterations=iterations,
        student_updates=round(updates),
        levels_per_image=_mean(training, spans, 'levels_per_image'),
        distill_cost=_mean(training, spans, 'distill_cost'),
        distill_gflops=_mean(training, spans, 'distill_gflops'),
        reward_gflops=_mean(training, spans, 'reward_gflops'),
        seconds_per_iteration=seconds,
        train_seconds=seconds * iterations,
        curves=_curves(training),
        task=task.name,
        logit_gflops=_mean(training, spans, 'logit_gflops'))


def _spans(training: list[Record], iterations: int) -> list[float]:
    """How many iterations each record speaks for."""
    ends = [*(record['iter'] for record in training[:-1]), iterations]
    return [end - begin for begin, end in zip([0, *ends], ends)]


def _mean(training: list[Record], spans: list[float],
          key: str) -> float | None:
    pairs = [(span, record[key])
             for span, record in zip(spans, training, strict=True)
             if key in record]
    if not pairs:
        return None
    return sum(s * v for s, v in pairs) / sum(s for s, _ in pairs)


def _curves(training: list[Record]) -> dict[str, list[list[float]]]:
    curves: dict[str, list[list[float]]] = {}
    for record in training:
        for key, value in record.items():
            if key not in _NO_CURVES and isfinite(value):
                curves.setdefault(key, []).append([record['iter'], value])
    return curves
