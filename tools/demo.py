"""Train a teacher, then students with each method, and report what came out.

    python tools/demo.py [--methods student uniform ppo] [--seeds 0]
        [--work-dir work_dirs/demo] [--figure-dir docs/images]

A method is the name of a config in configs/demo. Everything that is finished
is kept: after an interruption the same command continues, and with more
methods or seeds it trains only those.
"""

import argparse
import fcntl
import io
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from json import loads as load_json
from pathlib import Path
from threading import Event
from typing import IO, Any

from mmengine.config import Config
from mmengine.device import get_device
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

import mmrlkd
from mmrlkd.datasets.scenes import SceneConfig
from mmrlkd.datasets.writer import write_dataset
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.student import is_distiller
from mmrlkd.engine.trained import count_parameters, load_distiller
from mmrlkd.evaluation.results import (
    Record,
    Results,
    newest_record,
    read_log,
    read_run,
)
from mmrlkd.evaluation.selections import (
    SelectionReport,
    pick_examples,
    read_annotations,
    report_selections,
    strata_keys,
)
from mmrlkd.visualization import render, save_figures
from mmrlkd.visualization.table import rows, terminal_columns
from mmrlkd.visualization.verdicts import verdicts

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs/demo'
TRAIN = ROOT / 'tools/train.py'
TEST = ROOT / 'tools/test.py'
METHODS = ('student', 'uniform', 'ppo')
TEACHER = 'teacher'
#: More threads than this make small models slower.
MOST_THREADS = 4
#: Seconds between looks at a run's log, and between lines about it.
LOOK, SPEAK = 0.5, 30
#: Lines of a failed run's log that are shown.
LOG_LINES = 20


class DemoFailed(Exception):
    """A sentence that says what went wrong."""


@dataclass(frozen=True)
class Run:
    """One model to train: a method, a seed, and a folder for both."""
    method: str
    seed: int
    folder: Path

    @cached_property
    def cfg(self) -> Config:
        """The method's config."""
        return Config.fromfile(CONFIGS / f'{self.method}.py')

    @property
    def name(self) -> str:
        """For messages."""
        return (self.method if self.method == TEACHER else
                f'{self.method}, seed {self.seed}')

    @property
    def iterations(self) -> int:
        """How long it trains."""
        return self.cfg.train_cfg.max_iters

    @property
    def distils(self) -> bool:
        """Whether it needs the teacher."""
        return 'teacher' in self.cfg.model

    @property
    def checkpoint(self) -> Path | None:
        """The newest, if there is one."""
        pointer = self.folder / 'last_checkpoint'
        if not pointer.is_file():
            return None
        # By its name only: the work dir may have been moved.
        path = self.folder / Path(pointer.read_text().strip()).name
        return path if path.is_file() else None

    @property
    def trained(self) -> bool:
        """Whether the last iteration's checkpoint is there."""
        return (self.checkpoint is not None
                and self.checkpoint.stem == f'iter_{self.iterations}')

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated."""
        return self.trained and read_log(self.folder).evaluation is not None


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a teacher, then students with each method, and '
        'report what came out. Continues where it was interrupted.')
    parser.add_argument(
        '--methods', nargs='+', default=list(METHODS), metavar='NAME',
        help='configs in configs/demo; default: ' + ' '.join(METHODS))
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], metavar='N',
        help='each method is trained with each of them; default: 0')
    parser.add_argument(
        '--work-dir', type=Path, default=ROOT / 'work_dirs/demo',
        help='default: work_dirs/demo')
    parser.add_argument(
        '--figure-dir', type=Path,
        help="folder to write the README's figures to, as PNG")
    args = parser.parse_args(argv)
    there = sorted(path.stem for path in CONFIGS.glob('*.py'))
    for method in args.methods:
        if method not in there or method == TEACHER:
            parser.error(
                f'--methods {method}: accepted are '
                f'{", ".join(name for name in there if name != TEACHER)}.')
    args.methods = list(dict.fromkeys(args.methods))
    args.seeds = list(dict.fromkeys(args.seeds))
    args.command = shlex.join(
        ['python', 'tools/demo.py', *(sys.argv[1:] if argv is None else argv)])
    return args


# -- training -----------------------------------------------------------------


class Reporter:
    """Says how far a run is: a bar on a terminal, otherwise lines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn('{task.description}'), BarColumn(),
            MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn('{task.fields[note]}'), console=console,
            disable=not console.is_terminal)
        self._tasks: dict[Run, TaskID] = {}
        self._spoke: dict[Run, float] = {}
        self._said: dict[Run, str] = {}

    def __enter__(self) -> 'Reporter':
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def begin(self, run: Run) -> None:
        """A run starts, or goes on."""
        self._tasks[run] = self._progress.add_task(
            run.name, total=run.iterations, note='starting')
        self._spoke[run] = time.monotonic()
        self._line(f'{run.name}: {run.iterations} iterations')

    def update(self, run: Run, record: Record | None) -> None:
        """The newest record of its log."""
        if record is None:
            return
        done, total = int(record['iter']), run.iterations
        note = f'loss {record["loss"]:.3f}, ' if 'loss' in record else ''
        note += ('evaluating' if done >= total else
                 _duration(record['time'] * (total - done)) + ' left')
        self._progress.update(self._tasks[run], completed=done, note=note)
        if (time.monotonic() - self._spoke[run] >= SPEAK
                and note != self._said.get(run)):
            self._spoke[run], self._said[run] = time.monotonic(), note
            self._line(f'{run.name}: {done}/{total}, {note}')

    def end(self, run: Run, note: str) -> None:
        """The run is finished."""
        if run in self._tasks:
            self._progress.remove_task(self._tasks.pop(run))
        else:
            note += ', finished before'
        self.console.print(f'{run.name}: {note}')

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text)


@dataclass(frozen=True)
class Training:
    """What all trainings share.

    Attributes:
        lock: file whose lock the trainings hold, too.
        reporter: told how far they are.
        stop: set when all of them are to end.
    """
    lock: IO
    reporter: Reporter
    stop: Event


def train_all(teacher: Run, students: list[Run], jobs: int,
              shared: Training) -> None:
    """Train ``jobs`` runs at a time; those that distil wait for the teacher.

    Raises:
        DemoFailed: a training failed; the others were ended.
    """
    with ThreadPoolExecutor(jobs) as pool:
        try:
            # The teacher first, and beside it what does not need it.
            apart = [run for run in students if not run.distils]
            futures = [pool.submit(train, run, None, shared)
                       for run in (teacher, *apart)]
            futures[0].result()
            futures += [pool.submit(train, run, teacher.checkpoint, shared)
                        for run in students if run.distils]
            for future in as_completed(futures):
                future.result()
        except BaseException:
            shared.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def train(run: Run, teacher: Path | None, shared: Training) -> None:
    """Train and evaluate, or continue; nothing if that is done.

    Args:
        run: what.
        teacher: checkpoint to learn from, if the method does.
        shared: with the other trainings.

    Raises:
        DemoFailed: the training failed, or was ended.
    """
    reporter = shared.reporter
    if not run.finished:
        reporter.begin(run)
        if not run.trained:
            options = [f'randomness.seed={run.seed}']
            if teacher is not None:
                options.append(f'model.teacher.checkpoint={teacher}')
            _launch(run, [TRAIN, CONFIGS / f'{run.method}.py', '--resume',
                          '--work-dir', run.folder, '--cfg-options', *options],
                    shared)
        # Killed while it evaluated, a run resumes to do nothing.
        if run.trained and not run.finished:
            _launch(run, [TEST, run.folder / f'{run.method}.py',
                          run.checkpoint, '--work-dir', run.folder], shared)
        if not run.finished:
            raise DemoFailed(
                f'{run.name} ended without being evaluated at iteration '
                f'{run.iterations}; its log is {run.folder / "train.log"}. If '
                f'its config has changed since it began, remove {run.folder}.')
    metrics = read_run(run.folder, run.method, run.seed).metrics
    reporter.end(run, f'mAP {100 * (metrics["mAP"] or 0):.1f}')


def _launch(run: Run, command: list, shared: Training) -> None:
    """Run a Python script, its output in the run's log."""
    run.folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, *map(str, command)]
    log = run.folder / 'train.log'
    with log.open('ab') as output:
        output.write(f'\n$ {shlex.join(words)}\n'.encode())
        output.flush()
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
            pass_fds=[shared.lock.fileno()])
    try:
        while process.poll() is None:
            if shared.stop.is_set():
                raise DemoFailed(f'{run.name} was stopped.')
            shared.reporter.update(run, newest_record(run.folder))
            time.sleep(LOOK)
    finally:
        if process.poll() is None:  # this program is being stopped
            process.terminate()
            process.wait()
    if process.returncode:
        tail = log.read_text(errors='replace').splitlines()[-LOG_LINES:]
        raise DemoFailed('\n'.join([
            *tail, '', f'{run.name} failed with exit status '
            f'{process.returncode}; above is the end of {log}. Once the cause '
            'is removed, the same command continues.']))


@contextmanager
def locked(folder: Path) -> Iterator[IO]:
    """Hold a work dir, so that no two demos train in it.

    Trainings inherit the lock: one left behind by a killed demo still holds
    it.

    Raises:
        DemoFailed: it is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(
                f'{folder} is in use by another demo, or by a training that '
                'a killed one left behind; wait for it or end it, or name '
                'another folder with --work-dir.') from None
        yield file


# -- what came out ------------------------------------------------------------


def choose(run: Run) -> SelectionReport:
    """What a run's selector chooses for the validation images; kept."""
    checkpoint, file = run.checkpoint, run.folder / 'selections.json'
    if (file.is_file()
            and file.stat().st_mtime >= checkpoint.stat().st_mtime):
        return SelectionReport.loads(file.read_text())
    # The config it was trained with, as mmengine wrote it down.
    cfg = Config.fromfile(run.folder / f'{run.method}.py')
    with redirect_stdout(io.StringIO()):  # libraries tell what they load
        report = report_selections(
            load_distiller(cfg, checkpoint, get_device()), cfg)
    write_atomically(file, report.dumps().encode())
    return report


def collect(runs: list[Run], header: dict[str, Any],
            console: Console) -> Results:
    """Everything the report is made of.

    Args:
        runs: finished; the teacher's first.
        header: see :class:`~mmrlkd.evaluation.results.Results`.
        console: told what takes long.
    """
    reports: dict[str, SelectionReport] = {}
    results = []
    for run in runs:
        result = replace(
            read_run(run.folder, run.method, run.seed, run.iterations),
            parameters=count_parameters(run.checkpoint),
            phases=_phases(run.cfg))
        if is_distiller(run.cfg) and result.distils:
            console.print(
                f'{run.name}: choosing levels for the validation images')
            report = choose(run)
            header['probe_size'] = report.probe_size
            result = replace(
                result, adaptive=report.adaptive, selection=report.rates,
                trunk_gflops=report.trunk_gflops)
            if report.adaptive:
                reports.setdefault(run.method, report)
        results.append(result)
    cfg = runs[0].cfg
    return Results(header, results, pick_examples(
        reports, read_annotations(cfg), strata_keys(cfg)))


def _phases(cfg: Config) -> list[list[Any]]:
    return [[phase['name'], phase['length']]
            for hook in cfg.get('custom_hooks', [])
            if hook['type'] == 'mmrlkd.PhaseHook'
            for phase in hook['phases']]


def describe_origin(command: str, scenes: dict[str, Any]) -> dict[str, Any]:
    """The results' header."""
    return {
        'date': datetime.now(UTC).isoformat(timespec='seconds'),
        'command': command,
        'dataset': scenes,
        'machine': {
            'processor': _processor(),
            'cores': _cores(),
            'threads': int(os.environ['OMP_NUM_THREADS']),
            'device': get_device(),
        },
        'versions': {
            'mmrlkd': mmrlkd.__version__,
            'python': platform.python_version(),
            **{name: version(name) for name in (
                'torch', 'onedl-mmengine', 'onedl-mmcv',
                'onedl-mmdetection')},
        },
    }


def _processor() -> str:
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _jobs(runs: int) -> int:
    """How many runs to train at a time: a GPU has one, a core each one."""
    return min(runs, _cores()) if get_device() == 'cpu' else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def show(results: Results, console: Console) -> None:
    """The main numbers and what they say."""
    columns = terminal_columns(results)
    table = Table(title='means over seeds, ± 95 % intervals'
                  if len({run.seed for run in results.runs}) > 1 else None)
    table.add_column('model')
    for column in columns:
        table.add_column(column.short, justify='right')
    for row in rows(results, columns):
        table.add_row(row.name, *(
            f'[bold]{cell.text}[/]' if cell.best else cell.text
            for cell in row.cells), end_section=row.method == TEACHER)
    console.print(table)
    for text in verdicts(results):
        console.print(f'- {text}')


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes}:{seconds:02d}'


# -- all of it ----------------------------------------------------------------


def demo(args: argparse.Namespace, console: Console) -> None:
    """Make the scenes, train everything, write the report.

    Raises:
        DemoFailed: a sentence that says what went wrong.
    """
    work_dir = args.work_dir.resolve()
    figure_dir = args.figure_dir and args.figure_dir.resolve()
    os.chdir(ROOT)  # the configs name files from here
    teacher = Run(TEACHER, 0, work_dir / TEACHER)
    students = [Run(method, seed, work_dir / method / f'seed_{seed}')
                for seed in args.seeds for method in args.methods]
    scenes = Path(teacher.cfg.data_root)
    try:
        write_dataset(scenes, SceneConfig(), _cores())
    except (OSError, RuntimeError) as error:
        raise DemoFailed(f'The scenes could not be made: {error}') from error

    with locked(work_dir) as lock:
        with Reporter(console) as reporter:
            train_all(teacher, students, _jobs(len(students) + 1),
                      Training(lock, reporter, Event()))
        facts = load_json((scenes / 'dataset.json').read_text())
        results = collect(
            [teacher, *students], describe_origin(args.command, facts),
            console)
        report = work_dir / 'report.html'
        write_atomically(
            work_dir / 'results.json', results.dumps().encode())
        write_atomically(report, render(results).encode())
    if figure_dir:
        save_figures(results, figure_dir)
    show(results, console)
    console.print(f'The report is {report}', soft_wrap=True)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # Small models gain more from a core each than from two cores for one.
    jobs = _jobs(1 + len(args.methods) * len(args.seeds))
    os.environ.setdefault(
        'OMP_NUM_THREADS', str(min(max(_cores() // jobs, 1), MOST_THREADS)))
    # So that a training is ended with the demo, as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(
        width=None if sys.stdout.isatty() else 140, highlight=False)
    try:
        demo(args, console)
    except DemoFailed as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command continues where this left off.')


if __name__ == '__main__':
    main()


