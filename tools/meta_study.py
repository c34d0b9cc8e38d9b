"""Meta-learning against its baselines, each demo task left out once.

    python tools/meta_study.py [--seeds 0 1 2 3 4] [--record-only] [--report-only]

makes the data, trains and records the students of the four demo tasks where their
recordings are missing, measures what ``projects/experiments/results/meta_learning.csv``
lacks, and writes a page and a figure beside it. Killed at any moment, the same command
continues.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmengine.config import Config

from mmrlkd.config.errors import SENTENCES, errors_as_sentences
from mmrlkd.config.meta import load_recorded_tasks
from mmrlkd.engine.atomic import write_atomically
from projects.experiments.figures import adaptation
from projects.experiments.meta_page import by_seed, page
from projects.experiments.meta_recordings import make_recordings
from projects.experiments.meta_study import (
    ENUMERATED,
    TABLE,
    Settings,
    load_rows,
    run,
)
from projects.experiments.processes import locked, stoppable
from projects.experiments.runs import ExperimentFailed

CONFIG = ROOT / 'configs/meta/demo.py'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Meta-learning against its baselines, each demo task left '
        'out once. Continues where its table ends.')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2, 3, 4], metavar='N',
        help='default: 0 1 2 3 4')
    parser.add_argument(
        '--record-only', action='store_true',
        help='make the recordings and learn nothing')
    parser.add_argument(
        '--report-only', action='store_true', help='measure nothing')
    return parser.parse_args(argv)


def study(args: argparse.Namespace) -> None:
    """Measure what is lacking, and report.

    Raises:
        ExperimentFailed: a sentence that says what went wrong.
    """
    os.chdir(ROOT)  # the configs name files from here
    cfg = Config.fromfile(CONFIG)
    settings = Settings(cfg.policy.to_dict())
    if args.report_only:
        rows = load_rows(TABLE)
        rows = rows[rows.digest == rows.digest.iloc[-1]] if len(rows) else rows
    else:
        with locked(Path('work_dirs/meta')):
            make_recordings(ROOT / 'tools', print)
            if args.record_only:
                return
            tasks = load_recorded_tasks(cfg.tasks, cfg.horizon)
            rows = run(
                tasks.environments, settings, list(dict.fromkeys(args.seeds)),
                settings.identity(tasks.digests), TABLE,
                lambda done: print(done, flush=True))
    if rows.empty:
        raise ExperimentFailed(f'{TABLE} holds no rows of these recordings.')
    write_atomically(TABLE.with_suffix('.md'), page(
        rows, settings, 'python tools/meta_study.py').encode())
    adaptation.save(by_seed(rows), ENUMERATED, TABLE.with_suffix('.png'))
    print(f'The table is {TABLE}, the page {TABLE.with_suffix(".md")}.')


@errors_as_sentences((*SENTENCES, OSError, RuntimeError, ExperimentFailed),
                     'meta_study.py')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with stoppable():
        study(args)


if __name__ == '__main__':
    main()
