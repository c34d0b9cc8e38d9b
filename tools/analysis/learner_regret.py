"""What learners of a policy lose by sampling, on images that were recorded.

    python tools/analysis/learner_regret.py RECORDING.safetensors|bandit …
        [--seeds 0 1 2 3 4] [--batches 100] [--mean-cost 2]
        [--learners NAME …] [--config configs/demo/study.py]
        [--results FILE.csv]

A RECORDING is a file of tools/record_environment.py; ``bandit`` are made-up
images whose state tells all. Every learner sees the same images in the same
batches of 8, and is paid the same: λ is the price at which the best choices by
image cost ``--mean-cost`` on average. It is given, or, where a learner's name says
so, found for that mean cost while it learns. Their regret is measured on a third of the
images, which they have not seen. The results are one table; the same command
continues where it ends.
"""

import argparse
import os
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markdown import Markdown

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmengine.logging import MMLogger

from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.distillation.selection.recorded import load_recording
from projects.experiments.regret import (
    LEARNERS,
    RegretTask,
    at_mean_cost,
    bandit,
    measure,
    reference,
)
from projects.experiments.results import save_table
from projects.experiments.statistics import Interval, mean_interval

RESULTS = ROOT / 'projects/experiments/results/learner_regret.csv'
BANDIT = 'bandit'
#: What makes two rows the same.
KEY = ['task', 'mean_cost', 'batches', 'learner', 'seed']


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='What learners of a policy lose by sampling.')
    parser.add_argument('tasks', nargs='+', metavar='RECORDING',
                        help=f'file of tools/record_environment.py, or {BANDIT}')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2, 3, 4],
                        metavar='N', help='default: 0 1 2 3 4')
    parser.add_argument('--batches', type=int, default=100,
                        help='of 8 images, to learn from; default: 100')
    parser.add_argument('--mean-cost', type=float, default=2.0,
                        help='of the best choices by image; default: 2')
    parser.add_argument('--learners', nargs='+', choices=LEARNERS,
                        default=list(LEARNERS), metavar='NAME',
                        help='default: all of ' + '; '.join(LEARNERS))
    parser.add_argument('--config', default='configs/demo/study.py',
                        help='of a pair, for the policies')
    parser.add_argument('--results', type=Path, default=RESULTS,
                        help='table; default: learner_regret.csv among the '
                        'results that are kept with the code')
    args = parser.parse_args(argv)
    if args.batches < 1:
        parser.error(f'--batches {args.batches}: accepted is a number >= 1.')
    args.results = args.results.resolve()
    args.tasks = [BANDIT if task == BANDIT else Path(task).resolve()
                  for task in args.tasks]
    return args


def load_task(task: str | Path, mean_cost: float) -> RegretTask:
    """One task by its name or file."""
    if task == BANDIT:
        return at_mean_cost(BANDIT, *bandit(), mean_cost)
    recording, header = load_recording(task)
    return at_mean_cost(Path(task).stem, recording, header.space, mean_cost)


def run(args: argparse.Namespace, tasks: list[RegretTask]) -> pd.DataFrame:
    """The rows of the tasks; those that the table lacks are measured."""
    rows = (pd.read_csv(args.results) if args.results.is_file()
            else pd.DataFrame(columns=KEY))
    done = {tuple(map(str, row)) for row in rows[KEY].itertuples(index=False)}
    for task in tasks:
        for seed in args.seeds:
            for learner in args.learners:
                key = (task.name, args.mean_cost, args.batches, learner, seed)
                if tuple(map(str, key)) in done:
                    continue
                row = dict(zip(KEY, key, strict=True)) | measure(
                    args.config, learner, task, seed, args.batches)
                rows = pd.concat([rows, pd.DataFrame([row])], ignore_index=True)
                save_table(rows, args.results)
                print(f"{task.name}, {learner}, seed {seed}: regret "
                      f"{row['regret']:.4f}", flush=True)
    return rows[(rows.batches == args.batches)
                & (rows.mean_cost == args.mean_cost)
                & rows.seed.isin(args.seeds)]


def to_markdown(rows: pd.DataFrame, task: RegretTask) -> str:
    """A row for each learner, in parts of the regret of the best fixed subset."""
    rows = rows[rows.task == task.name]
    lines = [
        f'{task.name}: λ = {task.efficiency:.3f}, {rows.seed.nunique()} seeds. '
        'Regret of the best subset for all images is 1.', '',
        '| learner | regret | of the likeliest subset | above ExpectedReward, '
        'T = 1 |',
        '|---|---|---|---|']
    wide = {column: (rows[column] / rows.regret_of_fixed).groupby(
        [rows.seed, rows.learner]).first().unstack()
        for column in ('regret', 'regret_of_mode')}
    for learner in LEARNERS:
        if learner not in wide['regret']:
            continue
        each = wide['regret'][learner]
        cells = [_show(mean_interval(each.dropna())),
                 _show(mean_interval(wide['regret_of_mode'][learner].dropna()))]
        other = reference(learner)
        above = '' if other == learner or other not in wide['regret'] else _show(
            mean_interval((each - wide['regret'][other]).dropna()), '+')
        lines.append('| ' + ' | '.join([learner, *cells, above]) + ' |')
    return '\n'.join(lines) + '\n'


def _show(interval: Interval, sign: str = '') -> str:
    return f'{interval.mean:{sign}.3f} ± {interval.half_width:.3f}'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    os.chdir(ROOT)  # configs name files from here
    MMLogger.get_current_instance().setLevel('ERROR')
    with errors_as_sentences(CONFIG_ERRORS):
        tasks = [load_task(task, args.mean_cost) for task in args.tasks]
        rows = run(args, tasks)
    for task in tasks:
        Console().print(Markdown(to_markdown(rows, task)))
    print(f'The table is {args.results}.')


if __name__ == '__main__':
    main()
