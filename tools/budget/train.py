"""Train a controller from a profile, and compare it with what needs none.

    python tools/budget/train.py CONFIG PROFILE.parquet [--kind complete|log]
        [--seeds 0 1 2 3 4] [--out controller.pth] [--work-dir DIR]
        [--cfg-options KEY=VALUE …]

The config's ``budget`` says how, see docs/latency_budget.md. Each seed draws its own
images to hold out. Writes

    controller.pth         the controller of the first seed
    DIR/comparison.csv     each method on held-out images: seed, budget
    DIR/choices.csv        what was chosen, by difficulty
    DIR/comparison.json    means over the seeds with their intervals
    DIR/comparison.png     the same as a figure

A log is of one setting for each image, with propensities; there the controller is
trained by importance weights and its reward is estimated, as the other settings of
an image are not known. Killed at any moment, the same command continues with the
seeds that are not finished.
"""

import sys
from pathlib import Path

# Python puts this folder first on the path, where profile.py would hide the
# module of that name in the standard library, which torch imports.
sys.path[:] = [each for each in sys.path
               if Path(each).resolve() != Path(__file__).resolve().parent]

import argparse
import hashlib
import json
from dataclasses import asdict
from typing import Any

import pandas as pd
from mmengine.config import Config, DictAction
from rich.console import Console
from rich.table import Table

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.dynamic.comparison import (
    BOUNDED,
    MIXED,
    ORACLE,
    STATIC,
    compare,
    deployed,
    interval,
    paired,
    split,
)
from mmrlkd.dynamic.deployed import save_controller
from mmrlkd.dynamic.figure import save_figure
from mmrlkd.dynamic.logged import estimate
from mmrlkd.dynamic.plan import TrainingPlan, budget_range, compared_budgets
from mmrlkd.dynamic.settings import SettingSpace
from mmrlkd.dynamic.table import KINDS, ProfileTable
from mmrlkd.dynamic.training import train_controllers
from mmrlkd.engine.atomic import write_atomically

# Configs of this checkout import projects.scenes.
sys.path.append(str(Path(__file__).resolve().parents[2]))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a controller from a profile, and compare it with '
        'what needs none. Continues where it was interrupted.')
    parser.add_argument('config', help='config with a budget')
    parser.add_argument('profile', type=Path,
                        help='table of tools/budget/profile.py, or another one '
                        'with its columns')
    parser.add_argument('--kind', choices=KINDS, default='complete',
                        help='what the table is; default: complete')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2, 3, 4],
                        metavar='N', help='default: 0 1 2 3 4')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/budget/'
                        '<name of the config>')
    parser.add_argument('--out', type=Path, help='the controller; default: '
                        'controller.pth in the work dir')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config, as in budget.updates=100')
    args = parser.parse_args(argv)
    args.seeds = list(dict.fromkeys(args.seeds))
    if args.work_dir is None:
        args.work_dir = Path('work_dirs/budget', Path(args.config).stem)
    if args.out is None:
        args.out = args.work_dir / 'controller.pth'
    return args


def knobs_of(cfg: Config) -> list[dict[str, Any]] | None:
    """The knobs that the table must be of; None where the config has none."""
    knobs = cfg.budget.get('knobs')
    return SettingSpace.build(knobs).header() if knobs else None


class Seeds:
    """What is finished, in the work dir: a JSON file and a controller each.

    Args:
        folder: of the files.
        table: all images.
        plan: how to train.
        kept: whatever a seed's result depends on.
        console: is told what is trained.
    """

    def __init__(self, folder: Path, table: ProfileTable, plan: TrainingPlan,
                 kept: str, console: Console) -> None:
        self.folder, self.table, self.plan = folder, table, plan
        self.kept, self.console = kept, console
        self.budgets = compared_budgets(
            plan, budget_range(table, plan.overhead(table)))

    def controller(self, seed: int) -> Path:
        """Where the controller of a seed is."""
        return self.folder / f'seed_{seed}.pth'

    def result(self, seed: int) -> dict[str, Any]:
        """What a seed came to, trained now unless it is finished."""
        path = self.folder / f'seed_{seed}.json'
        if path.is_file():
            found = json.loads(path.read_text())
            if found['of'] == self.kept:
                return found
        result = {'of': self.kept, **self._train(seed)}
        write_atomically(path, json.dumps(result).encode())
        return result

    def _train(self, seed: int) -> dict[str, Any]:
        plan = self.plan
        training, held_out = split(self.table, plan.held_out, seed)
        trained = train_controllers(
            training, plan, seed,
            lambda name: self.console.print(f'seed {seed}: training {name}'))
        controller = deployed(trained, trained.algorithm, training, plan)
        # Before the result, which says that the seed is finished.
        save_controller(self.controller(seed), controller)
        if self.table.header.kind == 'log':
            return dict(rows=[
                dict(method=trained.algorithm, budget=budget,
                     **estimate(controller, held_out, budget))
                for budget in self.budgets], choices=[],
                algorithm=trained.algorithm)
        rows, choices = compare(trained, training, held_out, plan, self.budgets)
        return dict(rows=rows, choices=choices, algorithm=trained.algorithm)


def summarise(rows: pd.DataFrame, algorithm: str, held_out: float
              ) -> list[dict[str, Any]]:
    """For each budget the methods' means, and the controller's differences."""
    columns = [name for name in rows if name not in (
        'seed', 'method', 'budget', 'setting')]
    summary = []
    for budget, some in rows.groupby('budget'):
        entry: dict[str, Any] = dict(budget_ms=budget, methods={
            method: {name: _known(interval(runs[name], held_out))
                     for name in columns if runs[name].notna().all()}
            for method, runs in some.groupby('method', sort=False)})
        if (some.method == STATIC).any():
            entry['above'] = {
                other: _known(paired(some, algorithm, other, held_out)
                              .loc[budget].to_dict())
                for other in (STATIC, BOUNDED, MIXED, ORACLE)}
        summary.append(entry)
    return summary


def _known(value: dict[str, float]) -> dict[str, float]:
    """Without the interval of one seed, which JSON has no number for."""
    return {key: number for key, number in value.items() if number == number}


def show(summary: list[dict[str, Any]], console: Console) -> None:
    """A table for each budget."""
    for entry in summary:
        columns = list(dict.fromkeys(
            name for means in entry['methods'].values() for name in means))
        table = Table('method', title=f'budget {entry["budget_ms"]:g} ms')
        for name in columns:
            table.add_column(name, justify='right')
        for method, means in entry['methods'].items():
            table.add_row(method, *(
                _text(means.get(name), 2 if name.endswith('_ms') else 4)
                for name in columns))
        console.print(table)
        for other, difference in entry.get('above', {}).items():
            console.print(f'above {other}: {_text(difference, 4, "+")}')


def _text(value: dict[str, float] | None, digits: int, sign: str = '') -> str:
    if value is None:
        return '–'
    text = f'{value["mean"]:{sign}.{digits}f}'
    if 'half_width' in value:
        text += f' ± {value["half_width"]:.{digits}f}'
    return text


def train(args: argparse.Namespace, console: Console) -> None:
    """Train the seeds that are not finished, and write the comparison."""
    cfg = load_config(args.config, cfg_options=args.cfg_options)
    if cfg.get('budget') is None:
        raise ValueError(
            'The config has no budget; accepted: budget=dict(knobs=[…], …), as '
            'in docs/latency_budget.md.')
    plan = TrainingPlan.of(cfg.budget.to_dict())
    table = ProfileTable.read(args.profile, args.kind, knobs_of(cfg))
    kept = hashlib.sha256(
        args.profile.read_bytes() + json.dumps(
            [args.kind, asdict(plan)], sort_keys=True).encode()).hexdigest()
    seeds = Seeds(args.work_dir / 'seeds', table, plan, kept, console)
    results = {seed: seeds.result(seed) for seed in args.seeds}

    write_atomically(args.out, seeds.controller(args.seeds[0]).read_bytes())
    frames = {
        name: pd.DataFrame([{'seed': seed, **row} for seed, result
                            in results.items() for row in result[name]])
        for name in ('rows', 'choices')}
    algorithm = results[args.seeds[0]]['algorithm']
    summary = summarise(frames['rows'], algorithm, plan.held_out)
    folder = args.work_dir
    write_atomically(folder / 'comparison.csv',
                     frames['rows'].to_csv(index=False).encode())
    write_atomically(folder / 'comparison.json', json.dumps(dict(
        quality=table.header.quality, algorithm=algorithm, seeds=args.seeds,
        images=len(table), machine=table.header.machine, plan=asdict(plan),
        budgets=summary), indent=1).encode())
    show(summary, console)
    if len(frames['choices']):
        write_atomically(folder / 'choices.csv',
                         frames['choices'].to_csv(index=False).encode())
        save_figure(frames['rows'], frames['choices'], algorithm, plan.held_out,
                    folder / 'comparison.png')
    console.print(f'The controller is {args.out}, the comparison in {folder}.',
                  soft_wrap=True)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    console = Console(
        width=None if sys.stdout.isatty() else 140, highlight=False)
    try:
        with errors_as_sentences(CONFIG_ERRORS, args.config):
            train(args, console)
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command continues where this left off.')


if __name__ == '__main__':
    main()
