"""Train a student by several methods, and compare what came out.

    python tools/compare.py CONFIG … [--method NAME|FILE …] [--seeds 0 1 2]
        [--work-dir work_dirs/compare] [--no-front] [--figure FILE.png]
        [--cfg-options KEY=VALUE …]
    python tools/compare.py --report-only --work-dir DIR

Each CONFIG that distils is trained with each method, or with its own where
none is named; one that distils nothing is the student alone. All learn from one
teacher. Everything that is finished is kept: after an interruption the same
command continues, and with more methods or seeds it trains only those. The
report is made from the histories in the work dir.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.errors import SENTENCES, errors_as_sentences
from mmrlkd.engine.atomic import write_atomically
from projects.experiments.figures import cost_quality
from projects.experiments.front import FRONT, front_runs
from projects.experiments.processes import Session, locked, most_jobs, stoppable
from projects.experiments.progress import Reporter
from projects.experiments.results import TABLE, read_results, save_table
from projects.experiments.runs import TEACHER, ExperimentFailed, Run, Search
from projects.experiments.tables import (
    cost_columns,
    differences,
    quality_columns,
    summarise,
    to_markdown,
    to_terminal,
)
from projects.experiments.teacher import find_teacher, keep_history
from projects.experiments.training import match_random, train_all

TOOLS = ROOT / 'tools'
NOTE = (
    'Means over the seeds, ± 95 % t-intervals; a row with one seed has none and '
    'is no result. Images are those that went through the student; what RL '
    'searches is part of its training, what a search cost came before it. '
    'Nothing here is paid at inference.')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a student by several methods, and compare what '
        'came out. Continues where it was interrupted.')
    parser.add_argument(
        'configs', nargs='*', type=Path, metavar='CONFIG',
        help='pairs, or configs that differ in what chooses the levels; one '
        'that distils nothing is the student alone')
    parser.add_argument(
        '--method', nargs='+', default=[], metavar='NAME|FILE',
        help='methods to train each pair with: names from configs/methods or '
        'files; one that searches is searched first')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], metavar='N',
        help='each config is trained with each of them; default: 0')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/compare'),
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
                         'such as configs/demo/detection.py.')
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


def name_runs(args: argparse.Namespace) -> dict[str, Run]:
    """A run for each config and method, without seed, by its name in tables.

    A pair with a method is called as the method, a config without one as its
    file; the only config that distils nothing is called ``student``.

    Raises:
        ExperimentFailed: two would have one name.
    """
    named: dict[str, Run] = {}
    configs = [Run('', 0, Path(), config) for config in args.configs]
    pairs = [run for run in configs if run.distils]
    for run in configs:
        recipes = [*args.method] if run.distils and args.method else [None]
        for recipe in recipes:
            name = run.config.stem if recipe is None else Path(recipe).stem
            if recipe and len(pairs) > 1:
                name = f'{run.config.stem}_{name}'
            if not run.distils and len(configs) - len(pairs) == 1:
                name = 'student'
            if name in (TEACHER, FRONT) or name in named:
                raise ExperimentFailed(
                    f'{run.config}: {name!r} is its name in the table; '
                    f'accepted: different ones, and neither {TEACHER} nor '
                    f'{FRONT}.')
            named[name] = replace(run, method=name, recipe=recipe)
    return named


def plan(args: argparse.Namespace, named: dict[str, Run],
         work_dir: Path) -> tuple[Run | None, list[Run | Search]]:
    """What to train: the teacher, if it is not there, and the students.

    Raises:
        ExperimentFailed: a config that cannot be compared with the others.
    """
    options = tuple(args.cfg_options)
    # Options of the search would be refused by configs that do not search.
    plain = tuple(word for word in options if not word.startswith('search.'))
    runs = [
        replace(run, seed=seed, folder=work_dir / name / f'seed_{seed}',
                options=options if run.searches else plain)
        for seed in args.seeds for name, run in named.items()]
    teacher = find_teacher(work_dir, runs, plain)
    if args.front:
        runs += front_runs(work_dir, runs)
    if isinstance(teacher, str):
        keep_history(teacher, work_dir)
        runs = [replace(run, options=(
            *run.options, f'model.teacher.checkpoint={teacher}'))
            if run.distils else run for run in runs]
    return (teacher if isinstance(teacher, Run) else None,
            [Search(run) if run.searches else run
             for run in match_random(runs)])


def compare(args: argparse.Namespace, console: Console) -> None:
    """Train what is not finished, and report.

    Raises:
        ExperimentFailed: a training failed, or runs cannot be compared.
    """
    work_dir = args.work_dir.resolve()
    figure = (args.figure or args.work_dir / 'figure.png').resolve()
    args.configs = [config.resolve() for config in args.configs]
    args.method = [str(Path(name).resolve()) if name.endswith('.py') else name
                   for name in args.method]
    named = name_runs(args)
    if not args.report_only:
        with locked(work_dir) as lock, Reporter(console) as reporter:
            teacher, students = plan(args, named, work_dir)
            total = len(students) + (teacher is not None)
            train_all(teacher, students, args.jobs or most_jobs(total),
                      Session(TOOLS, lock, reporter))
    report(work_dir, list(named), args.front, figure, console)


def report(work_dir: Path, methods: list[str], front: bool, figure: Path,
           console: Console) -> None:
    """Write the tables and the figure, from what lies in the work dir.

    Raises:
        ExperimentFailed: nothing is finished there.
    """
    # In the order of names, as --report-only has it: then the report of a copied
    # work dir has the same bytes.
    table, missing = read_results(work_dir, sorted(methods), front)
    if table.empty or table.hindsight.all():
        raise ExperimentFailed(
            f'--work-dir {work_dir} holds no finished run to report; '
            'accepted: a folder that this tool trained in.')
    quality = quality_columns(table)
    frames = [summarise(table, [*quality, *cost_columns(table)]),
              differences(table)]
    unfinished = ([f'Begun and not finished, so not counted: '
                   f'{"; ".join(missing)}.'] if missing else [])
    page = work_dir / 'table.md'
    write_atomically(page, '\n'.join([
        *(to_markdown(frame) for frame in frames if frame is not None),
        NOTE, *unfinished, '']).encode())
    save_table(table, work_dir / TABLE)
    drawn = cost_quality.save(table, figure)
    console.print(to_terminal(
        summarise(table, [quality[0], *cost_columns(table, narrow=True)]),
        'means over seeds, ± 95 % intervals'))
    if frames[1] is not None:
        console.print(to_terminal(
            frames[1], 'differences in points, paired over seeds'))
    for text in unfinished:
        console.print(text)
    console.print(f'The table is {page}' + (
        f', the figure {figure}' if drawn else ''), soft_wrap=True)


@errors_as_sentences((*SENTENCES, ExperimentFailed), 'compare.py')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    console = Console(
        width=None if sys.stdout.isatty() else 160, highlight=False)
    with stoppable():
        compare(args, console)


if __name__ == '__main__':
    main()
