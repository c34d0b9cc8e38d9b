"""What a controller adds to a run of the model, and where that time goes.

    python benchmarks/budget_decision.py [detection classification] [--rounds 200]
        [--float]

Needs neither data nor checkpoints: the models are those of the budget demo, image and
weights are random, of which times do not depend. A controller in int8, or with
--float in float, chooses one setting: without looking at the image, or by looking,
with a run that continues from the feature's stage or one that does not. Runs with it
and runs in that setting alone, set beforehand, follow each other in an order that is
drawn anew for each round. On the CPU with one thread (OMP_NUM_THREADS=1), times are
those of the process, which other processes disturb less.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.dynamic import features
from mmrlkd.dynamic.blind import BlindRule
from mmrlkd.dynamic.budgeted import BudgetedModel
from mmrlkd.dynamic.controller import Controller
from mmrlkd.dynamic.deployed import (
    BudgetedController,
    ControllerHeader,
    LoadedController,
    load_controller,
)
from mmrlkd.dynamic.export import export
from mmrlkd.dynamic.latency import LatencyModel
from mmrlkd.dynamic.parts import BudgetParts
from mmrlkd.dynamic.table import ProfileTable, TableHeader
from mmrlkd.registry import MODELS

#: Height and width of the demo's images, in px.
SIZES = {'detection': 128, 'classification': 96}
#: Functions that are parts of a run with a controller, by owner and name.
PARTS: tuple[tuple[Any, str, str], ...] = (
    (features.StageFeature, '_run', 'modules up to the stage'),
    (features, 'pool', 'pooling'),
    (BudgetedController, 'decide', 'deciding'),
)
MODEL, REST, SUM = "the model's run", 'all else', 'with the controller'
ALONE, ADDED = 'the setting alone', 'the controller adds'
WARM_UP = 10


class Timer:
    """Keeps the seconds of each call of marked functions, by label."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.clock = (time.process_time if torch.get_num_threads() == 1
                      else time.perf_counter)

    def call(self, label: str, function: Callable, *args: Any,
             **kwargs: Any) -> Any:
        """Call a function and keep its time."""
        begin = self.clock()
        result = function(*args, **kwargs)
        self.seconds[label].append(self.clock() - begin)
        return result

    def mark(self, owner: Any, name: str, label: str) -> None:
        """Measure all calls of a function."""
        function = getattr(owner, name)

        def marked(*args: Any, **kwargs: Any) -> Any:
            return self.call(label, function, *args, **kwargs)
        setattr(owner, name, marked)


def build(task: str) -> tuple[BudgetParts, dict[str, Any]]:
    """The demo's model of a task and its knobs, and an image, preprocessed."""
    cfg = load_config(f'configs/demo/budget_{task}.py')
    init_default_scope(cfg.default_scope)
    parts = BudgetParts.build(MODELS.build(cfg.model), cfg.budget)
    size = SIZES[task]
    sample: Any
    if task == 'detection':
        from mmdet.structures import DetDataSample
        sample = DetDataSample()
    else:
        from mmpretrain.structures import DataSample
        sample = DataSample()
    sample.set_metainfo(dict(
        img_shape=(size, size), ori_shape=(size, size), scale_factor=(1., 1.)))
    data = pseudo_collate([dict(
        inputs=torch.randint(0, 256, (3, size, size)).byte(), data_samples=sample)])
    return parts, parts.model.data_preprocessor(data, False)


@torch.no_grad()
def choosing(parts: BudgetParts, batch: dict[str, Any], setting: int, looks: bool,
             int8: bool) -> BudgetedModel:
    """The model with a controller that chooses one setting."""
    space, images = parts.space, 8
    pooled = parts.feature.compute(batch['inputs'], batch['data_samples']).pooled
    seen = pooled + 0.1 * torch.randn(images, pooled.shape[1])
    ones = torch.ones(images, len(space))
    value = torch.zeros(len(space))
    value[setting] = 1e6
    network = Controller(pooled.shape[1], space.sizes)
    network.prior.copy_(value)
    controller: BudgetedController = LoadedController(
        ControllerHeader(space.header(), pooled.shape[1], 0, 0., (1., 2.)),
        LatencyModel(ones[0], ones[0], ones[0], seen[0],
                     torch.zeros(len(seen[0]), len(space)), 0.5),
        network, BlindRule(value, torch.ones(1), torch.tensor([looks])))
    if int8:
        table = ProfileTable(
            TableHeader('complete', space.header()), space,
            tuple(map(str, range(images))), latency=ones, quality=ones,
            features=seen, context=torch.zeros(images, 0),
            difficulty=('', ) * images, measured=ones > 0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'controller.onnx')
            export(controller, table, path, True)
            controller = load_controller(path)
    return BudgetedModel(parts, controller)


@torch.no_grad()
def measure(budgeted: BudgetedModel, batch: dict[str, Any], setting: int,
            timer: Timer, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each round, by label."""
    timer.seconds.clear()
    rows: dict[str, list[float]] = defaultdict(list)
    order = np.random.default_rng(0)
    for _ in range(WARM_UP + rounds):
        for label in order.permutation([SUM, ALONE]):
            if label == SUM:
                _, (decision, ) = timer.call(
                    label, budgeted.predict, batch, 1e3)
                assert decision.setting == setting
                rows[MODEL].append(timer.seconds[MODEL][-1])
            else:
                with budgeted.parts.space.set(setting):
                    timer.call(label, budgeted.parts.model, **batch, mode='predict')
    rows |= {label: seconds for label, seconds in timer.seconds.items()
             if label != MODEL}
    result = {label: np.array(seconds[WARM_UP:]) for label, seconds in rows.items()}
    result[REST] = result[SUM] - sum(
        seconds for label, seconds in result.items() if label not in (SUM, ALONE))
    result[ADDED] = result[SUM] - result[ALONE]
    return result


def show(title: str, ways: dict[str, dict[str, np.ndarray]], console: Console
         ) -> None:
    """A table with a column for each way of deciding."""
    table = Table('median, µs', *ways, title=title)
    labels = [label for *_, label in PARTS] + [REST, MODEL, SUM, ALONE, ADDED]
    for label in labels:
        table.add_row(label, *(
            f'{1e6 * np.median(parts[label]):.0f}' if label in parts else '–'
            for parts in ways.values()))
    table.add_row('  of the setting alone', *(
        f'{np.median(parts[ADDED] / parts[ALONE]):.1%}' for parts in ways.values()))
    console.print(table)


def main() -> None:
    """What the script does with its command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('tasks', nargs='*', default=list(SIZES),
                        help=f'default: {" ".join(SIZES)}')
    parser.add_argument('--rounds', type=int, default=200)
    parser.add_argument('--float', action='store_true',
                        help='controllers in float, not in int8')
    args = parser.parse_args()
    if unknown := set(args.tasks) - set(SIZES):
        parser.error(f'{", ".join(sorted(unknown))}; accepted: {", ".join(SIZES)}.')
    MMLogger.get_current_instance().setLevel('ERROR')
    timer = Timer()
    for part in PARTS:
        timer.mark(*part)
    for task in args.tasks:
        parts, batch = build(task)
        timer.mark(parts.model, 'forward', MODEL)
        kinds = {parts.feature.reusable(parts.space, setting): setting
                 for setting in range(len(parts.space))}  # the dearest of both
        ways = {}
        for name, setting, looks in (
                ('not looking', kinds[True], False),
                ('looking, continues', kinds[True], True),
                ('looking, does not continue', kinds[False], True)):
            budgeted = choosing(parts, batch, setting, looks, not args.float)
            ways[f'{name}: {parts.space.describe(setting)}'] = measure(
                budgeted, batch, setting, timer, args.rounds)
        show(f'{task}, controller in {"float" if args.float else "int8"}', ways,
             Console(width=120))


if __name__ == '__main__':
    main()
