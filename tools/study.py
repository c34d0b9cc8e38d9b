"""Train a study: many methods, at many costs, in several worlds, with each seed.

    python tools/study.py projects/experiments/studies/front.py
        [--seeds 0 1 2 3 4] [--worlds NAME …] [--entries NAME …] [--jobs 2]
        [--order seeds|entries] [--report-only]

makes the data, trains the teachers and every student that the table
``projects/experiments/results/NAME.csv`` lacks, and writes a page of paired
differences and a figure beside it. The table is kept with the code: the same
command continues in another checkout, and with more seeds or entries it trains
only those.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.errors import SENTENCES, errors_as_sentences
from mmrlkd.engine.atomic import write_atomically
from projects.experiments import choice
from projects.experiments.figures import families
from projects.experiments.processes import cores, locked, stoppable
from projects.experiments.runs import ExperimentFailed
from projects.experiments.study import check_asked, read_study, scenes_of
from projects.experiments.study_run import current_rows, load_rows, run_study
from projects.scenes.writer import write_dataset


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a study, and report paired differences. Continues '
        'where its table ends.')
    parser.add_argument('study', type=Path, help='file of the study')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2, 3, 4], metavar='N',
        help='default: 0 1 2 3 4')
    parser.add_argument(
        '--worlds', nargs='+', default=[], metavar='NAME', help='default: all')
    parser.add_argument(
        '--entries', nargs='+', default=[], metavar='NAME',
        help='names of entries or families; default: all')
    parser.add_argument(
        '--jobs', type=int, default=cores(), metavar='N',
        help='trainings at a time; default: one for each core')
    parser.add_argument(
        '--order', choices=('seeds', 'entries'), default='seeds',
        help='everything with one seed, then with the next (default), or each '
        'entry with all seeds; priorities of the entries come before')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/studies'),
        help='for the logs; default: work_dirs/studies')
    parser.add_argument(
        '--cost', choices=('distill_cost', 'chosen_cost'),
        default='distill_cost', help='that is reported: over all iterations '
        '(default), or over those after the warm-up')
    parser.add_argument(
        '--report-only', action='store_true', help='train nothing')
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f'--jobs {args.jobs}: accepted is a number >= 1.')
    args.seeds = list(dict.fromkeys(args.seeds))
    args.study = args.study.resolve()
    return args


def study(args: argparse.Namespace) -> None:
    """Train what is lacking, and report.

    Raises:
        ExperimentFailed: a sentence that says what went wrong.
    """
    os.chdir(ROOT)  # the configs name files from here
    chosen = read_study(args.study)
    check_asked(chosen, args.worlds, args.entries)
    failures: list[str] = []
    if not args.report_only:
        with locked(args.work_dir / chosen.name):
            for world in chosen.worlds.values():
                if not args.worlds or world.name in args.worlds:
                    write_dataset(*scenes_of(world), args.jobs)
            failures = run_study(
                chosen, args.work_dir.resolve(), args.worlds, args.entries,
                args.seeds, args.jobs, args.order,
                lambda text: print(text, flush=True))
    rows = current_rows(chosen, load_rows(chosen.table))
    if rows.empty:
        raise ExperimentFailed('\n'.join(
            failures or [f'{chosen.table} holds no rows of this study.']))
    page = chosen.table.with_suffix('.md')
    text = choice.page(chosen, rows, args.cost)
    write_atomically(page, text.encode())
    families.save(rows, chosen.table.with_suffix('.png'), args.cost)
    print(f'The table is {chosen.table}, the page {page}.')
    if failures:
        raise ExperimentFailed('\n'.join(failures))


@errors_as_sentences((*SENTENCES, OSError, RuntimeError, ExperimentFailed),
                     'study.py')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with stoppable():
        study(args)


if __name__ == '__main__':
    main()
