"""Train a teacher, then students with each method, and report what came out.

    python tools/demo.py [--task detection] [--methods student uniform ppo]
        [--seeds 0] [--work-dir work_dirs/demo] [--figure-dir docs/images]

A method is the name of a config in configs/demo, for other tasks than
detection in configs/demo/TASK. Everything that is finished is kept: after an
interruption the same command continues, and with more methods or seeds it
trains only those.
"""

import argparse
import io
import os
import platform
import shlex
import signal
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from json import loads as load_json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmrlkd.datasets.scenes import SceneConfig
from mmrlkd.datasets.writer import write_dataset
from rich.console import Console
from rich.table import Table

import mmrlkd
from mmrlkd.config.student import is_distiller
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.trained import count_parameters, load_distiller
from mmrlkd.evaluation.results import Results, read_run
from mmrlkd.evaluation.selections import (
    SelectionReport,
    pick_examples,
    read_annotations,
    report_selections,
    strata_keys,
)
from mmrlkd.experiments.failure import ExperimentFailed
from mmrlkd.experiments.machine import cores, most_jobs, share_threads
from mmrlkd.experiments.process import Session, locked
from mmrlkd.experiments.reporter import Reporter
from mmrlkd.experiments.run import TEACHER, Run
from mmrlkd.experiments.training import train_all
from mmrlkd.visualization import render, save_figures
from mmrlkd.visualization.table import rows, terminal_columns
from mmrlkd.visualization.verdicts import verdicts

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs/demo'
TOOLS = ROOT / 'tools'


@dataclass(frozen=True)
class Demo:
    """What there is to show of a task.

    Attributes:
        folder: of its configs, in :data:`CONFIGS`.
        work_dir: where its runs go by default.
        library: that its models come from, as a distribution.
        methods: trained by default.
        scenes: that its configs read.
    """
    folder: str
    work_dir: Path
    library: str
    methods: tuple[str, ...] = ('student', 'uniform', 'ppo')
    scenes: SceneConfig = SceneConfig()

    @property
    def configs(self) -> Path:
        """Where its configs are."""
        return CONFIGS / self.folder


DEMOS = {
    'detection': Demo('', ROOT / 'work_dirs/demo', 'onedl-mmdetection'),
    'segmentation': Demo(
        'segmentation', ROOT / 'work_dirs/demo_segmentation',
        'onedl-mmsegmentation', ('student', 'kd', 'uniform', 'ppo')),
    'classification': Demo(
        'classification', ROOT / 'work_dirs/demo_classification',
        'onedl-mmpretrain', ('student', 'kd', 'uniform', 'ppo'),
        SceneConfig(size=64, classes=10)),
    'instance': Demo(
        'instance', ROOT / 'work_dirs/demo_instance', 'onedl-mmdetection'),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a teacher, then students with each method, and '
        'report what came out. Continues where it was interrupted.')
    parser.add_argument(
        '--task', choices=DEMOS, default='detection',
        help='default: detection')
    parser.add_argument(
        '--methods', nargs='+', metavar='NAME',
        help='configs in configs/demo, or configs/demo/TASK for other tasks '
        'than detection; default: student uniform ppo, and kd where there '
        'are logits to distil')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], metavar='N',
        help='each method is trained with each of them; default: 0')
    parser.add_argument(
        '--work-dir', type=Path,
        help='default: work_dirs/demo, for other tasks work_dirs/demo_TASK')
    parser.add_argument(
        '--figure-dir', type=Path,
        help="folder to write the README's figures to, as PNG")
    args = parser.parse_args(argv)
    chosen = DEMOS[args.task]
    args.work_dir = args.work_dir or chosen.work_dir
    args.methods = args.methods or list(chosen.methods)
    there = sorted(path.stem for path in chosen.configs.glob('*.py'))
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


# -- what came out ------------------------------------------------------------


def choose(run: Run) -> SelectionReport:
    """What a run's selector chooses for the validation images; kept."""
    checkpoint, file = run.checkpoint, run.folder / 'selections.json'
    if (file.is_file()
            and file.stat().st_mtime >= checkpoint.stat().st_mtime):
        return SelectionReport.loads(file.read_text())
    cfg = Config.fromfile(run.dumped)  # the config it was trained with
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


def describe_origin(command: str, scenes: dict[str, Any],
                    library: str) -> dict[str, Any]:
    """The results' header."""
    return {
        'date': datetime.now(UTC).isoformat(timespec='seconds'),
        'command': command,
        'dataset': scenes,
        'machine': {
            'processor': _processor(),
            'cores': cores(),
            'threads': int(os.environ['OMP_NUM_THREADS']),
            'device': get_device(),
        },
        'versions': {
            'mmrlkd': mmrlkd.__version__,
            'python': platform.python_version(),
            **{name: version(name) for name in (
                'torch', 'onedl-mmengine', 'onedl-mmcv', library)},
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


# -- all of it ----------------------------------------------------------------


def demo(args: argparse.Namespace, console: Console) -> None:
    """Make the scenes, train everything, write the report.

    Raises:
        ExperimentFailed: a sentence that says what went wrong.
    """
    work_dir = args.work_dir.resolve()
    figure_dir = args.figure_dir and args.figure_dir.resolve()
    os.chdir(ROOT)  # the configs name files from here
    chosen = DEMOS[args.task]
    teacher = Run(
        TEACHER, 0, work_dir / TEACHER, chosen.configs / f'{TEACHER}.py')
    students = [Run(method, seed, work_dir / method / f'seed_{seed}',
                    chosen.configs / f'{method}.py')
                for seed in args.seeds for method in args.methods]
    scenes = Path(teacher.cfg.data_root)
    try:
        write_dataset(scenes, chosen.scenes, cores())
    except (OSError, RuntimeError) as error:
        raise ExperimentFailed(f'The scenes could not be made: {error}') from error

    with locked(work_dir) as lock:
        with Reporter(console) as reporter:
            train_all(teacher, students, most_jobs(len(students) + 1),
                      Session(TOOLS, lock, reporter))
        facts = load_json((scenes / 'dataset.json').read_text())
        results = collect(
            [teacher, *students],
            describe_origin(args.command, facts, chosen.library), console)
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
    share_threads(most_jobs(1 + len(args.methods) * len(args.seeds)))
    # So that a training is ended with the demo, as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(
        width=None if sys.stdout.isatty() else 140, highlight=False)
    try:
        demo(args, console)
    except ExperimentFailed as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command continues where this left off.')


if __name__ == '__main__':
    main()


