"""Train a student under several configs, and compare what came out.

    python tools/compare.py configs/demo/student.py configs/demo/uniform.py …
        [--seeds 0 1 2] [--work-dir work_dirs/compare] [--no-front]
        [--figure FILE.png] [--cfg-options KEY=VALUE …]
    python tools/compare.py --report-only --work-dir DIR

All learn from one teacher. Everything that is finished is kept: after an
interruption the same command continues, and with more configs or seeds it
trains only those. The report is made from the histories in the work dir.
"""

import argparse
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

import mmrlkd  # noqa: F401
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.experiments.comparison import read_comparison
from mmrlkd.experiments.failure import ExperimentFailed
from mmrlkd.experiments.front import FRONT, front_runs
from mmrlkd.experiments.machine import most_jobs, share_threads
from mmrlkd.experiments.process import Session, locked
from mmrlkd.experiments.reporter import Reporter
from mmrlkd.experiments.run import TEACHER, Run
from mmrlkd.experiments.searching import Search
from mmrlkd.experiments.teacher import find_teacher, keep_history
from mmrlkd.experiments.training import train_all
from mmrlkd.visualization.comparison_figure import save
from mmrlkd.visualization.comparison_table import (
    to_json,
    to_markdown,
    to_terminal,
)
from mmrlkd.visualization.comparison_verdicts import comparison_verdicts

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / 'tools'
RESULTS = 'results.json'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a student under several configs, and compare what '
        'came out. Continues where it was interrupted.')
    parser.add_argument(
        'configs', nargs='*', type=Path, metavar='CONFIG',
        help='configs that differ in what chooses the levels; one with a '
        'search is searched first')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], metavar='N',
        help='each config is trained with each of them; default: 0')
    parser.add_argument(
        '--work-dir', type=Path, default=ROOT / 'work_dirs/compare',
        help='default: work_dirs/compare')
    parser.add_argument(
        '--front', action=argparse.BooleanOptionalAction, default=True,
        help='train every fixed subset of the levels, too')
    parser.add_argument(
        '--figure', type=Path, metavar='FILE.png',
        help='default: figure.png in the work dir; an SVG lies beside it')
    parser.add_argument(
        '--jobs', type=int, metavar='N',
        help='trainings at a time; default: one for each core, or 1 on a GPU')
    parser.add_argument(
        '--report-only', action='store_true',
        help='train nothing; report what is finished in the work dir')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
        help='override values of every config')
    args = parser.parse_args(argv)
    if not args.configs and not args.report_only:
        parser.error('CONFIG: none is named; accepted: one or more config '
                     'files, or --report-only.')
    for config in args.configs:
        if not config.is_file() and not args.report_only:
            parser.error(f'CONFIG {config} is not a file; accepted: a config '
                         'such as configs/demo/uniform.py.')
    names = [config.stem for config in args.configs]
    for name in names:
        if name in (TEACHER, FRONT) or names.count(name) > 1:
            parser.error(
                f'CONFIG {name}: its name is its name in the table; accepted: '
                f'different ones, and neither {TEACHER} nor {FRONT}.')
    if args.jobs is not None and args.jobs < 1:
        parser.error(f'--jobs {args.jobs}: accepted is a number >= 1.')
    for word in args.cfg_options:
        if '=' not in word:
            parser.error(f'--cfg-options {word}: accepted is KEY=VALUE.')
    if args.figure and args.figure.suffix != '.png':
        parser.error(f'--figure {args.figure}: accepted is a name that ends '
                     'in .png.')
    args.seeds = list(dict.fromkeys(args.seeds))
    return args


def plan(args: argparse.Namespace, work_dir: Path) -> tuple[
        Run | None, list[Run | Search]]:
    """What to train: the teacher, if it is not there, and the students.

    Raises:
        ExperimentFailed: a config that cannot be compared with the others.
    """
    options = tuple(args.cfg_options)
    # A key of the search would make a search of every config.
    plain = tuple(word for word in options if not word.startswith('search.'))
    runs = [Run(config.stem, seed, work_dir / config.stem / f'seed_{seed}',
                config, plain)
            for seed in args.seeds for config in args.configs]
    runs = [replace(run, options=options) if 'search' in run.cfg else run
            for run in runs]
    teacher = find_teacher(work_dir, runs, plain)
    if args.front:
        runs += front_runs(work_dir, runs)
    if isinstance(teacher, str):
        keep_history(teacher, work_dir)
        runs = [replace(run, options=(
            *run.options, f'model.teacher.checkpoint={teacher}'))
            if run.distils else run for run in runs]
    return (teacher if isinstance(teacher, Run) else None,
            [Search(run) if 'search' in run.cfg else run for run in runs])


def compare(args: argparse.Namespace, console: Console) -> None:
    """Train what is not finished, and report.

    Raises:
        ExperimentFailed: a sentence that says what went wrong.
    """
    work_dir = args.work_dir.resolve()
    figure = (args.figure or args.work_dir / 'figure.png').resolve()
    args.configs = [config.resolve() for config in args.configs]
    os.chdir(ROOT)  # the configs name files from here
    refuse_others(work_dir / RESULTS)
    if not args.report_only:
        with locked(work_dir) as lock, Reporter(console) as reporter:
            teacher, students = plan(args, work_dir)
            total = len(students) + (teacher is not None)
            train_all(teacher, students, args.jobs or most_jobs(total),
                      Session(TOOLS, lock, reporter))
    report(args, work_dir, figure, console)


def refuse_others(results: Path) -> None:
    """Keep the results of another tool.

    Raises:
        ExperimentFailed: they are there.
    """
    if results.is_file() and 'methods' not in json.loads(results.read_text()):
        raise ExperimentFailed(
            f'--work-dir: {results} was written by another tool; accepted: a '
            'folder of its own for a comparison, or a copy.')


def report(args: argparse.Namespace, work_dir: Path, figure: Path,
           console: Console) -> None:
    """Write the table and the figure, from what lies in the work dir.

    Raises:
        ExperimentFailed: nothing is finished there.
    """
    comparison = read_comparison(
        work_dir, [config.stem for config in args.configs], args.front)
    if not comparison.members:
        raise ExperimentFailed(
            f'--work-dir {work_dir} holds no finished run to report; '
            'accepted: a folder that this tool trained in.')
    table = work_dir / 'table.md'
    write_atomically(table, to_markdown(comparison).encode())
    write_atomically(work_dir / RESULTS, to_json(comparison).encode())
    save(comparison, figure)
    console.print(to_terminal(comparison))
    for text in comparison_verdicts(comparison):
        console.print(f'- {text}')
    console.print(f'The table is {table}, the figure {figure}',
                  soft_wrap=True)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if not args.report_only:
        share_threads(args.jobs or most_jobs(
            len(args.configs) * len(args.seeds)))
    # So that a training is ended with the comparison, as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(
        width=None if sys.stdout.isatty() else 160, highlight=False)
    try:
        compare(args, console)
    except ExperimentFailed as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command continues where this left off.')


if __name__ == '__main__':
    main()
