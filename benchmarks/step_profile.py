"""Where the time of a training step goes, by torch.profiler.

    python benchmarks/step_profile.py [--variant NAME] [--case narrow-256] [--steps 10]

Prints the share of each part of the step, the operators that take most of the time
themselves, and how often the host waits for numbers. The models are those of
``step_overhead.py``, and so are the variants and the cases.
"""

import argparse
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table
from step_overhead import VARIANTS, make_step
from torch.profiler import ProfilerActivity, profile

from mmrlkd.distillation import step
from mmrlkd.distillation.distillation import Distillation
from mmrlkd.distillation.level_losses import LevelLosses
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.weighting.finite_check import FiniteCheck
from mmrlkd.rl import Descent

#: Functions that are parts of a step, by owner and name. A part's time has that of
#: those inside it, which are indented.
PARTS: tuple[tuple[Any, str, str], ...] = (
    (LazyPyramid, '_run_backbone', "teacher's backbone"),
    (step, 'run_student', "student's forward pass and losses"),
    (Distillation, 'select', 'selecting'),
    (LevelLosses, '_compute', 'losses of levels'),
    (LazyPyramid, 'level', "  teacher's neck, in these"),
    (step, 'observe', 'observing, to learn'),
    (LazyPyramid, 'score_logits', "  teacher's neck and head, in these"),
    (FiniteCheck, 'update', 'backward pass and optimizer'),
    (FiniteCheck, '_finite', '  whether the gradients are finite, in these'),
    (FiniteCheck, 'statistics', 'copy of statistics'),
    (step, 'learn', 'learning'),
    (Descent, 'step', "  the policy's backward passes and Adam, in these"),
    (step, 'describe', 'scalars for the log'),
)
#: Where the host waits for the device.
WAITS = ('aten::_local_scalar_dense', 'aten::nonzero', 'aten::is_nonzero')


class Timer:
    """Adds up the seconds of marked functions, by label."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._device = device

    def clock(self) -> float:
        """As in ``_measure.py``: of the process, which others disturb less."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize()
        elif torch.get_num_threads() == 1:
            return time.process_time()
        return time.perf_counter()

    def call(self, label: str, function: Callable, *args: Any,
             **kwargs: Any) -> Any:
        """Call a function and add its time."""
        begin = self.clock()
        result = function(*args, **kwargs)
        self.seconds[label] = (
            self.seconds.get(label, 0.) + self.clock() - begin)
        self.calls[label] = self.calls.get(label, 0) + 1
        return result

    def mark(self, owner: Any, name: str, label: str) -> None:
        """Measure all calls of a function."""
        function = getattr(owner, name)
        static = isinstance(vars(owner).get(name), staticmethod)

        @wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            return self.call(label, function, *args, **kwargs)
        setattr(owner, name, staticmethod(marked) if static else marked)


def main() -> None:
    """What the script does with its command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--variant', choices=list(VARIANTS),
                        default='all levels')
    parser.add_argument('--case', default='narrow-256')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--steps', type=int, default=10)
    args = parser.parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    run = make_step(args.variant, args.batch, args.case, device)
    activities = [ProfilerActivity.CPU]
    if device.type == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    for i in range(5):  # the first ones warm up
        run(i)
    with profile(activities=activities) as profiled:
        for i in range(args.steps):
            run(5 + i)
    timer = Timer(device)
    for part in PARTS:
        timer.mark(*part)
    for i in range(args.steps):
        timer.call('step', run, 5 + args.steps + i)
    console = Console(width=100)
    title = f'{args.variant}, {args.case}'
    console.print(parts_table(timer, title, args.steps),
                  operators_table(profiled, args.steps))
    calls = {each.key: each.count for each in profiled.key_averages()}
    for key in WAITS:
        console.print(f'{key}: {calls.get(key, 0) / args.steps:g} a step')


def parts_table(timer: Timer, title: str, steps: int) -> Table:
    """The parts of a step, and all else."""
    whole = timer.seconds['step']
    table = _table(f'{title}: {1e3 * whole / steps:.1f} ms a step')
    rest = whole
    for _, _, label in PARTS:
        seconds = timer.seconds.get(label, 0.)
        if not label.startswith(' '):
            rest -= seconds
        _add(table, label, seconds, whole, timer.calls.get(label, 0), steps)
    _add(table, 'all else', rest, whole, steps, steps)
    return table


def operators_table(profiled: profile, steps: int) -> Table:
    """The operators that take most of the time themselves."""
    events = sorted(profiled.key_averages(),
                    key=lambda each: -each.self_cpu_time_total)
    whole = sum(each.self_cpu_time_total for each in events) / 1e6
    table = _table('operators, without what they call')
    for each in events[:20]:
        _add(table, each.key, each.self_cpu_time_total / 1e6, whole, each.count,
             steps)
    return table


def _table(title: str) -> Table:
    table = Table(title=title)
    for column in ('', 'ms', 'share', 'calls'):
        table.add_column(column, justify='right' if column else 'left')
    return table


def _add(table: Table, label: str, seconds: float, whole: float, calls: int,
         steps: int) -> None:
    table.add_row(label, f'{1e3 * seconds / steps:.2f}',
                  f'{seconds / whole:.1%}', f'{calls / steps:g}')


if __name__ == '__main__':
    main()
