"""The demo of inference under a latency budget: its steps, each one tool."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrlkd.engine.atomic import write_atomically
from projects.scenes.scenes import SceneConfig

from .processes import THREADS, Session, launch, most_jobs
from .runs import Run
from .training import train_all

#: Names of the two students: trained as the other demos do, and with blocks dropped.
PLAIN, DROPPED = 'plain', 'dropped'


@dataclass(frozen=True)
class BudgetTask:
    """A task of the demo.

    Attributes:
        name: of its config, ``budget_<name>.py``.
        student: config of the same model, trained without dropping blocks.
        scenes: what it is trained and profiled on.
        profiled: number of images that are profiled.
        tested: number of test images, of a data set of their own.
    """
    name: str
    student: str
    scenes: SceneConfig
    profiled: int
    tested: int


TASKS = (
    BudgetTask('detection', 'detection_student.py', SceneConfig(), 240, 100),
    BudgetTask('classification', 'classification_large_student.py',
               SceneConfig(size=96, classes=10), 240, 120),
)


@dataclass(frozen=True)
class Step:
    """One tool's run.

    Attributes:
        name: for messages.
        words: script and arguments.
        output: file that it writes.
    """
    name: str
    words: tuple[str, ...]
    output: Path
    iterations = None

    def newest(self) -> None:
        """Its log tells how far it is."""


class Steps:
    """Runs steps one after the other; what is finished is not run again.

    A step is finished if its last run had the same words, and read what the steps
    before it have written now. Latencies are measured, so no two run at a time.

    Args:
        session: of the experiment.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self, step: Step, *read: Path) -> Path:
        """Run a step, unless it is finished.

        Args:
            step: what.
            read: files that it reads.

        Returns:
            Its output.

        Raises:
            ExperimentFailed: it failed.
        """
        stamp = step.output.with_name(f'{step.output.name}.done')
        state = hashlib.sha256(json.dumps([step.words, [
            hashlib.sha256(path.read_bytes()).hexdigest() for path in read
        ]]).encode()).hexdigest()
        if not (step.output.is_file() and stamp.is_file()
                and stamp.read_text() == state):
            stamp.unlink(missing_ok=True)  # what it says is overwritten now
            self.session.reporter.begin(step)
            launch(step, step.output.with_name(f'{step.output.stem}.log'),
                   [self.session.tools / step.words[0], *step.words[1:]],
                   self.session)
            write_atomically(stamp, state.encode())
        self.session.reporter.end(step, f'{step.output.name} is written')
        return step.output


@dataclass(frozen=True)
class Files:
    """What the steps of a task have written.

    Attributes:
        plain: profile of the student that was trained without dropping.
        table: profile of the other one.
        comparison: folder of the controllers' comparison.
        tests: by ``'float'`` or ``'int8'``, and seed.
    """
    plain: Path
    table: Path
    comparison: Path
    tests: dict[tuple[str, int], Path]


def students(task: BudgetTask, folder: Path, configs: Path) -> dict[str, Run]:
    """The trainings of a task."""
    return {name: Run(f'{task.name}, {name} student', 0, folder / name,
                      configs / config)
            for name, config in ((PLAIN, task.student),
                                 (DROPPED, f'budget_{task.name}.py'))}


def train_students(runs: list[Run], session: Session) -> None:
    """Train them side by side."""
    train_all(None, runs, most_jobs(len(runs)), session)


def run_task(task: BudgetTask, runs: dict[str, Run], seeds: list[int],
             folder: Path, steps: Steps) -> Files:
    """Profile, train controllers, export and test them.

    Args:
        task: which.
        runs: its trained students.
        seeds: of the controllers.
        folder: of the files.
        steps: runs them.
    """
    config = str(runs[DROPPED].config)
    threads = ('--threads', str(THREADS))

    def profile(name: str, images: int, repeats: int) -> Path:
        checkpoint = runs[name].checkpoint
        assert checkpoint is not None
        out = folder / f'{name}.parquet'
        return steps.run(Step(
            f'{task.name}: profile of the {name} student',
            ('budget/profile.py', config, str(checkpoint), '--out', str(out),
             '--images', str(images), '--repeats', str(repeats), *threads), out),
            checkpoint)

    table = profile(DROPPED, task.profiled, 3)
    # Of this one, only the quality is of interest.
    plain = profile(PLAIN, task.profiled // 2, 1)
    comparison = folder / 'comparison'
    summary = steps.run(Step(
        f'{task.name}: controllers',
        ('budget/train.py', config, str(table), '--work-dir', str(comparison),
         '--seeds', *map(str, seeds)), comparison / 'comparison.json'),
        table, runs[DROPPED].config)
    budgets = [f'{each["budget_ms"]:g}' for each
               in json.loads(summary.read_text())['budgets']]
    controllers = [comparison / 'seeds' / f'seed_{seed}.pth' for seed in seeds]
    int8 = [each.with_name(f'{each.stem}_int8.onnx') for each in controllers]
    steps.run(Step(
        f'{task.name}: controllers in int8',
        ('budget/export.py', *map(str, controllers), str(table)), int8[-1]),
        *controllers, table)
    # One float controller: it differs in the time of a decision, which one tells.
    tested = {**{('int8', seed): path for seed, path in zip(seeds, int8, strict=True)},
              ('float', seeds[0]): controllers[0]}
    tests = {key: path.with_name(f'{path.name}.test.json')
             for key, path in tested.items()}
    steps.run(Step(
        f'{task.name}: controllers end to end',
        ('budget/test.py', config, str(runs[DROPPED].checkpoint),
         *map(str, tested.values()), '--table', str(table), *threads,
         '--budget-ms', *budgets), tests['float', seeds[0]]), *tested.values())
    return Files(plain, table, comparison, tests)


def read_tests(files: Files) -> Iterator[dict[str, Any]]:
    """A flat row for each controller and budget of the end-to-end tests."""
    for (kind, seed), path in files.tests.items():
        for row in json.loads(path.read_text())['budgets']:
            yield dict(kind=kind, seed=seed, **row)
