"""Measure what each level is worth to each group of images, by short trainings.

    python tools/pilot.py CONFIG --descriptor objects --groups 4 --trainings 40
        [--method NAME|FILE] [--iterations N] [--seeds 0 1] [--jobs 2]
        [--edges 3.5 7.5 10.5] [--work-dir DIR] [--cfg-options KEY=VALUE …]

Groups are quantiles of a descriptor of the training images. Each training
distils each group at levels drawn at random and is judged on images held out of
the training split; a regression tells the worth of each (group, level) with 95 %
intervals, in ``worth.json`` of the work dir, which
``mmrlkd.GroupWorthReward(file=…)`` reads. Interrupted, the same command
continues; with more trainings it adds them.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mmengine.config import DictAction

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmrlkd.config.errors import (
    CONFIG_ERRORS,
    SENTENCES,
    errors_as_sentences,
)
from projects.experiments.pilot import (
    WORTH,
    Pilot,
    check_pilot,
    load_edges,
    measure,
    quantile_edges,
    run_pilot,
)
from projects.experiments.processes import cores, locked, most_jobs, stoppable
from projects.experiments.runs import ExperimentFailed


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure what each level is worth to each group of '
        'images. Continues where it was interrupted.')
    parser.add_argument('config', type=Path, help='config of a pair')
    parser.add_argument(
        '--descriptor', default='objects', metavar='NAME',
        help='what images are grouped by; default: objects')
    parser.add_argument(
        '--groups', type=int, default=4, metavar='N',
        help='of like size, by quantiles; default: 4')
    parser.add_argument(
        '--edges', type=float, nargs='*', metavar='X',
        help='upper ends of all groups but the last, in place of quantiles')
    parser.add_argument(
        '--batches', type=int, default=200, metavar='N',
        help='whose images the quantiles are of; default: 200')
    parser.add_argument(
        '--trainings', type=int, default=40, metavar='N', help='default: 40')
    parser.add_argument(
        '--iterations', type=int, metavar='N',
        help='of each training; default: as the config says')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1], metavar='N',
        help='of the trainings, in turn; default: 0 1')
    parser.add_argument(
        '--method', metavar='NAME|FILE',
        help='method whose phases the trainings have; default: that of the '
        'config')
    parser.add_argument(
        '--jobs', type=int, default=most_jobs(cores()), metavar='N',
        help='trainings at a time; default: one for each core, or 1 on a GPU')
    parser.add_argument(
        '--work-dir', type=Path,
        help='default: work_dirs/pilot_CONFIG_DESCRIPTOR')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help="override values of the config, as in model.normalize=none")
    args = parser.parse_args(argv)
    for name, least in (('groups', 2), ('batches', 1), ('trainings', 1),
                        ('iterations', 1), ('jobs', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f'--{name} {value}: accepted is a number >= {least}.')
    if args.work_dir is None:
        args.work_dir = Path(
            'work_dirs', f'pilot_{args.config.stem}_{args.descriptor}')
    args.config = args.config.resolve()
    return args


def pilot(args: argparse.Namespace) -> None:
    """Train what is lacking, and say what the levels are worth.

    Raises:
        ExperimentFailed: a sentence that says what went wrong.
    """
    asked = Pilot(
        args.config, args.descriptor, tuple(args.edges or ()), args.method,
        args.cfg_options, args.trainings, args.iterations, tuple(args.seeds))
    with errors_as_sentences(CONFIG_ERRORS, 'pilot.py'):
        check_pilot(asked, args.groups if args.edges is None
                    else len(args.edges) + 1)
    with locked(args.work_dir):
        if args.edges is None:
            edges = load_edges(args.work_dir, args.groups)
            if edges is None:
                edges = quantile_edges(
                    measure(asked, args.batches, args.work_dir), args.groups)
            asked = replace(asked, edges=edges)
        print(f'Edges of {args.descriptor}: {list(asked.edges)}', flush=True)
        worth = run_pilot(asked, args.work_dir.resolve(), args.jobs,
                          lambda text: print(text, flush=True))
    for group, (values, halves) in enumerate(
            zip(worth['worth'], worth['interval'], strict=True)):
        print(f'group {group}: ' + ', '.join(
            f'{level} {100 * value:+.2f} ± {100 * half:.2f}' for
            level, value, half in zip(worth['levels'], values, halves)))
    print(f'In hundredths of {worth["metric"]}, ± 95 %; {worth["trainings"]} '
          f'trainings, {worth["images"]} images. Written: '
          f'{args.work_dir / WORTH}')


@errors_as_sentences((*SENTENCES, OSError, ExperimentFailed), 'pilot.py')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with stoppable():
        pilot(args)


if __name__ == '__main__':
    main()
