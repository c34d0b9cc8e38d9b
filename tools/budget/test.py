"""Test controllers end to end, with the library's own evaluator.

    python tools/budget/test.py CONFIG CHECKPOINT CONTROLLER … --budget-ms MS …
        [--table FILE.parquet] [--drift rescale|refuse|ignore]
        [--out FILE.json] [--device cpu] [--threads N] [--cfg-options KEY=VALUE …]

Every test image is run within each budget, one at a time. Told are accuracy,
percentiles of the latency with the controller's own time in it, violations of the
budget, what looking and choosing cost, and the settings that were chosen. With
--table, the profile that the controller was trained on, the best static setting for
each budget is run beside it. Clock and preprocessing are those of the profile.
"""

import sys
from pathlib import Path

# Python puts this folder first on the path, where profile.py would hide the
# module of that name in the standard library, which torch imports.
sys.path[:] = [each for each in sys.path
               if Path(each).resolve() != Path(__file__).resolve().parent]

import argparse
import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.config.errors import CONFIG_ERRORS, errors_as_sentences
from mmrlkd.config.student import model_config, student_config
from mmrlkd.dynamic.baselines import best_static
from mmrlkd.dynamic.budgeted import BudgetedModel, check_model
from mmrlkd.dynamic.deployed import load_controller
from mmrlkd.dynamic.drift import OPTIONS, corrected
from mmrlkd.dynamic.machine import describe_machine
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.dynamic.table import ProfileTable
from mmrlkd.dynamic.testing import measure, summarise
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.trained import fill
from mmrlkd.files import load_file
from mmrlkd.registry import MODELS

# Configs of this checkout import projects.scenes.
sys.path.append(str(Path(__file__).resolve().parents[2]))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Test controllers end to end.')
    parser.add_argument('config', help='config with a budget')
    parser.add_argument('checkpoint', help='weights of its model')
    parser.add_argument('controllers', nargs='+', type=Path, metavar='controller',
                        help='file of tools/budget/train.py or '
                        'tools/budget/export.py')
    parser.add_argument('--budget-ms', nargs='+', type=float, required=True,
                        metavar='MS', help='budgets of an image')
    parser.add_argument('--table', type=Path,
                        help='the profile, for the best static settings')
    parser.add_argument('--drift', choices=OPTIONS, default='rescale',
                        help="where latencies are not the profile's; default: "
                        'rescale')
    parser.add_argument('--out', type=Path, help='JSON file of one controller; '
                        'default: CONTROLLER.test.json')
    parser.add_argument('--device', default=get_device(),
                        help='that the model runs on; default: %(default)s')
    parser.add_argument('--threads', type=int,
                        help="of the CPU; default: PyTorch's")
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override values of the config')
    args = parser.parse_args(argv)
    if args.threads is not None and args.threads < 1:
        parser.error(f'--threads {args.threads}: accepted is a number >= 1.')
    if args.out and len(args.controllers) > 1:
        parser.error('--out names one file; accepted: with one controller.')
    return args


class TestSet:
    """The test images of a config, and the library's evaluator for them.

    Args:
        cfg: the config.
    """

    def __init__(self, cfg: Config) -> None:
        self.metrics = cfg.test_evaluator
        self.loader = Runner.build_dataloader(dict(
            cfg.test_dataloader, batch_size=1, num_workers=0,
            persistent_workers=False))

    def images(self) -> Iterator[Any]:
        """The collated data of each image."""
        return iter(self.loader)

    def evaluator(self) -> Evaluator:
        """A new one."""
        evaluator = Evaluator(self.metrics)
        evaluator.dataset_meta = getattr(self.loader.dataset, 'metainfo', None)
        return evaluator


def build(path: Path, args: argparse.Namespace, cfg: Config,
          images: TestSet) -> BudgetedModel:
    """The model with a controller, as this machine runs it."""
    controller = load_controller(path)
    check_model(controller, args.checkpoint)
    model = MODELS.build(model_config(cfg))
    fill(model, load_file(args.checkpoint), args.checkpoint)
    budgeted = BudgetedModel(BudgetParts.build(
        model.to(args.device), cfg.get('budget')), controller)
    # As profiled: what a slower machine cannot keep is counted, as infeasible.
    budgeted.check_budget('--budget-ms', torch.tensor(args.budget_ms))
    return corrected(
        budgeted, budgeted.preprocess(next(images.images())), args.drift)


def test(budgeted: BudgetedModel, images: TestSet, budget: float,
         table: ProfileTable | None) -> dict[str, Any]:
    """The numbers of a budget, see :func:`.testing.summarise`, with the library's
    own: ``metrics``."""
    space = budgeted.parts.space
    own, of_static = images.evaluator(), images.evaluator()
    static = None if table is None else best_static(
        table, budget, budgeted.controller.latency.quantile)

    def to(evaluator: Evaluator) -> Any:
        return lambda samples, data: evaluator.process(samples, data)

    measured = measure(budgeted, images.images(), budget, to(own), static,
                       to(of_static))
    row = dict(budget_ms=budget, **summarise(measured),
               metrics=own.evaluate(len(measured)))
    if static is not None:
        row['static'] |= dict(setting=space.describe(static),
                              metrics=of_static.evaluate(len(measured)))
    return row


def to_frame(rows: list[dict[str, Any]], quality: str) -> pd.DataFrame:
    """A line for each budget, and one for its static setting."""
    lines = []
    for row in rows:
        for name, one in (('controller', row), ('static', row['static'])):
            if one is None:
                continue
            latency = one['latency_ms']
            main, value = next(iter(one['metrics'].items()))
            lines.append({
                'budget, ms': f'{row["budget_ms"]:g}', 'how': one.get(
                    'setting', name), main: f'{value:.4g}',
                quality: f'{one["quality"]:.3f}',
                **{f'{key}, ms': f'{latency[key]:.2f}'
                   for key in ('mean', 'p50', 'p95', 'p99')},
                'within': f'{one["within"]:.1%}',
                'overhead': f'{one["overhead"]:.1%}' if 'overhead' in one else ''})
    return pd.DataFrame(lines).set_index(['budget, ms', 'how'])


def test_controller(path: Path, args: argparse.Namespace, cfg: Config,
                    images: TestSet, console: Console) -> dict[str, Any]:
    """Test a controller within every budget, and write what came out."""
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        budgeted = build(path, args, cfg, images)
        table = args.table and ProfileTable.read(
            args.table, 'complete', budgeted.parts.space.header())
    console.print(f'{path}:')
    rows = []
    for budget in args.budget_ms:
        rows.append(test(budgeted, images, budget, table))
        console.print(f'{budget:g} ms: {rows[-1]["within"]:.1%} within')
    result = dict(
        controller=str(path), config=str(args.config),
        machine=describe_machine(args.device),
        time_scale=budgeted.controller.time_scale,
        choosing_ms=budgeted.controller.overhead_ms, budgets=rows)
    out = args.out or path.with_name(f'{path.name}.test.json')
    write_atomically(out, json.dumps(result, indent=1).encode())
    console.print(to_frame(rows, budgeted.parts.quality.name).to_string(),
                  soft_wrap=True)
    console.print(f'{out} is written.')
    return result


@errors_as_sentences()
def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console()
    with errors_as_sentences(CONFIG_ERRORS, args.config):
        cfg = student_config(load_config(args.config,
                                         cfg_options=args.cfg_options))
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        images = TestSet(cfg)
    return [test_controller(path, args, cfg, images, console)
            for path in args.controllers]


if __name__ == '__main__':
    main()
