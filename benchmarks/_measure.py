"""Measuring variants of one step against the first of them, in one run.

All variants run in turn, one step each a round, each round in another order.
Every few rounds, a group, a variant's seconds are divided by the floor's; the
ratio is the median of these quotients, given with the 95 % interval of that
median (bootstrap). A variant whose first step of a group is a special one can be
given for more rarely special steps, too, from the same seconds. On the CPU with
one thread, seconds are those of the process, which other processes disturb less.
Variants that take many times the floor sit most groups out. Peak memory is
measured apart, each variant in a process of its own: on the CPU (Linux) what is
resident, on a GPU what is allocated.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmrlkd.engine.atomic import write_atomically

Step = Callable[[int], None]
#: Slow variants run in one of so many groups.
RARE = 5


@dataclass(frozen=True)
class Sweep:
    """What a benchmark is repeated for.

    Attributes:
        flag: of the command line, without dashes.
        unit: behind the value, in a table's title.
        values: unless the command line says otherwise.
        accepted: all there are, where there are not any others.
    """
    flag: str
    unit: str
    values: tuple[int, ...] | tuple[str, ...]
    accepted: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Benchmark:
    """What is measured.

    Attributes:
        file: the script, which runs itself to measure memory.
        title: of the table, before the number it is repeated for.
        variants: names, the floor first.
        sweep: what it is repeated for.
        make_step: a function that runs one step, given its number, of a
            variant's name, a batch size, a value of the sweep and a device.
        group: rounds that make one quotient.
        rounds: steps of each variant, unless the command line says otherwise.
        slow: variants that run in every ``RARE``-th group alone.
        baselines: variants that others than the floor are to be compared with,
            by the name of what is compared.
        usual: variants beside the floor that are measured unless the command
            line says otherwise; without any, all.
        rarer: rows beside those of the variants: by name, which variant it is,
            and how many times more rarely it has the first step of a group.
    """
    file: str
    title: str
    variants: tuple[str, ...]
    sweep: Sweep
    make_step: Callable[[str, int, Any, torch.device], Step]
    group: int
    rounds: int
    slow: tuple[str, ...] = ()
    baselines: Mapping[str, str] = field(default_factory=dict)
    usual: tuple[str, ...] = ()
    rarer: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    @property
    def floor(self) -> str:
        """What the others are divided by."""
        return self.variants[0]

    def only(self, names: Collection[str]) -> 'Benchmark':
        """The same with the floor and the variants ``names``."""
        kept = tuple(name for name in self.variants
                     if name in names or name == self.floor)
        rarer = {name: (of, factor) for name, (of, factor) in self.rarer.items()
                 if of in kept}
        return replace(self, variants=kept, rarer=rarer, baselines={
            name: other for name, other in self.baselines.items()
            if name in (*kept, *rarer) and other in kept})


def measure_times(benchmark: Benchmark, batch: int, value: int | str,
                  rounds: int, device: torch.device) -> dict[str, np.ndarray]:
    """Seconds of each step, by variant; NaN where it did not run."""
    steps = {name: benchmark.make_step(name, batch, value, device)
             for name in benchmark.variants}
    seconds = {name: np.full(rounds, np.nan) for name in steps}
    order = np.random.default_rng(0)
    alone = device.type == 'cpu' and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    for i in track(range(-benchmark.group, rounds), f'{value} {benchmark.sweep.unit}',
                   transient=True):
        rare = i > 0 and i // benchmark.group % RARE > 0
        for name in order.permutation(list(steps)):
            if rare and name in benchmark.slow:
                continue
            begin = clock()
            steps[name](i + benchmark.group)
            if device.type == 'cuda':
                torch.cuda.synchronize()
            if i >= 0:  # the first ones warm up
                seconds[name][i] = clock() - begin
    return seconds


def peak_memory(step: Step, device: torch.device) -> float:
    """MiB that five steps use at most, beyond the model at rest."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        rest = torch.cuda.memory_allocated()
    else:
        # Not getrusage, whose peak a process inherits from its parent.
        Path('/proc/self/clear_refs').write_text('5')  # forget the peak
        rest = _resident('VmRSS')
    for i in range(5):
        step(i)
    peak = (torch.cuda.max_memory_allocated() if device.type == 'cuda' else
            _resident('VmHWM'))
    return (peak - rest) / 2**20


def _resident(key: str) -> int:
    """Bytes of this process in memory now (VmRSS), or at most (VmHWM)."""
    status = Path('/proc/self/status').read_text()
    return int(status.partition(f'{key}:')[2].split()[0]) * 1024


def measure_memory(benchmark: Benchmark, batch: int,
                   value: int | str) -> dict[str, float]:
    """MiB by variant, each in a process of its own."""
    result = {}
    for name in benchmark.variants:
        done = subprocess.run(
            [sys.executable, benchmark.file, '--memory-of', name, '--batch',
             str(batch), f'--{benchmark.sweep.flag}', str(value)],
            capture_output=True, text=True, check=True)
        result[name] = float(done.stdout.split()[-1])
    return result


def compare(seconds: np.ndarray, floor: np.ndarray,
            group: int) -> dict[str, Any]:
    """Time of a variant against the floor's."""
    groups = seconds.reshape(-1, group).sum(axis=1)
    quotients = groups / floor.reshape(-1, group).sum(axis=1)
    ran = np.isfinite(groups)
    groups, quotients = groups[ran], quotients[ran]
    drawn = np.random.default_rng(0).choice(
        quotients, size=(10_000, len(quotients)))
    return dict(
        seconds=float(np.median(groups)) / group,
        time_ratio=float(np.median(quotients)),
        time_ratio_interval=np.quantile(
            np.median(drawn, axis=1), [0.025, 0.975]).tolist())


def make_rarer(seconds: np.ndarray, group: int, factor: float) -> np.ndarray:
    """Seconds as if the first step of a group came ``factor`` times more rarely,
    and the group were as long."""
    weights = np.full(group, (factor * group - 1) / (factor * (group - 1)))
    weights[0] = 1 / factor
    return (seconds.reshape(-1, group) * weights).flatten()


def show(title: str, result: dict[str, dict[str, Any]], floor: str) -> None:
    """Print one size's table."""
    table = Table(title=title)
    columns = ['variant', 'ms', f'÷ {floor}', '95 %']
    with_memory = 'peak_mib' in result[floor]
    if with_memory:
        columns += ['peak MiB', f'÷ {floor}']
    for column in columns:
        table.add_column(
            column, justify='left' if column == 'variant' else 'right')
    for name, row in result.items():
        low, high = row['time_ratio_interval']
        table.add_row(
            name, f"{1e3 * row['seconds']:.1f}", f"{row['time_ratio']:.3f}",
            f'{low:.3f} to {high:.3f}', *(
                (f"{row['peak_mib']:.0f}", f"{row['memory_ratio']:.2f}")
                if with_memory else ()))
    console = Console(width=100)
    console.print(table)
    for name, row in result.items():
        if 'baseline' in row:
            low, high = row['baseline_ratio_interval']
            console.print(
                f"{name} ÷ {row['baseline']}: {row['baseline_ratio']:.3f} "
                f'({low:.3f} to {high:.3f})')


def run(benchmark: Benchmark, description: str) -> None:
    """What the script does with its command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--json', type=Path,
                        help='where to write the result, as far as it is known')
    parser.add_argument(
        '--resume', action='store_true',
        help='keep what the file of --json has, if it was measured alike')
    parser.add_argument(
        '--rounds', type=int, default=benchmark.rounds,
        help=f'steps of each variant, a multiple of {benchmark.group}')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument(
        f'--{benchmark.sweep.flag}', type=type(benchmark.sweep.values[0]),
        nargs='+', dest='values', choices=benchmark.sweep.accepted,
        default=list(benchmark.sweep.values))
    others = benchmark.variants[1:]
    usual = benchmark.usual or others
    names = ', '.join(map(repr, usual))
    more = ', '.join(repr(name) for name in others if name not in usual)
    parser.add_argument(
        '--variants', nargs='+', choices=others, metavar='NAME', default=usual,
        help=(f'beside the floor; default: {names}'
              + (f'; others: {more}' if more else '')).replace('%', '%%'))
    parser.add_argument(
        '--no-memory', action='store_true',
        help='measure time alone: memory takes a process for each variant')
    parser.add_argument('--memory-of', choices=benchmark.variants,
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rounds < benchmark.group or args.rounds % benchmark.group:
        parser.error(f'--rounds={args.rounds}; accepted: a multiple of '
                     f'{benchmark.group}, at least {benchmark.group}.')
    MMLogger.get_current_instance().setLevel('ERROR')  # initialisation logs
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if args.memory_of:
        print(peak_memory(benchmark.make_step(
            args.memory_of, args.batch, args.values[0], device), device))
        return
    benchmark = benchmark.only(args.variants)
    result = dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else
        f'{platform.machine()} CPU, {torch.get_num_threads()} threads',
        torch=torch.__version__, batch=args.batch, rounds=args.rounds,
        **{benchmark.sweep.flag: {}})
    done = result[benchmark.sweep.flag]
    if args.resume and args.json and args.json.exists():
        done |= _measured_alike(
            json.loads(args.json.read_text()), result, benchmark)
    for value in args.values:
        title = f'{benchmark.title}, {value} {benchmark.sweep.unit}'.strip()
        if str(value) not in done:
            done[str(value)] = _measure(
                benchmark, args.batch, value, args.rounds, device,
                not args.no_memory)
        show(title, done[str(value)], benchmark.floor)
        if args.json:
            write_atomically(
                args.json, (json.dumps(result, indent=1) + '\n').encode())


def _measured_alike(file: dict, result: dict,
                    benchmark: Benchmark) -> dict[str, dict]:
    """The rows in a file, by value, if they have the same settings."""
    flag = benchmark.sweep.flag
    names = {*benchmark.variants, *benchmark.rarer}
    if {**file, flag: None} != {**result, flag: None}:
        return {}
    return {value: rows for value, rows in file[flag].items()
            if set(rows) == names}


def _measure(benchmark: Benchmark, batch: int, value: int | str, rounds: int,
             device: torch.device, with_memory: bool) -> dict[str, dict]:
    """The rows of one value."""
    memory = measure_memory(benchmark, batch, value) if with_memory else {}
    seconds = measure_times(benchmark, batch, value, rounds, device)
    for name, (of, factor) in benchmark.rarer.items():
        seconds[name] = make_rarer(seconds[of], benchmark.group, factor)
        if with_memory:
            memory[name] = memory[of]
    floor = benchmark.floor
    rows = {name: compare(each, seconds[floor], benchmark.group)
            for name, each in seconds.items()}
    for name, mib in memory.items():
        rows[name] |= dict(peak_mib=mib, memory_ratio=mib / memory[floor])
    for name, other in benchmark.baselines.items():
        against = compare(seconds[name], seconds[other], benchmark.group)
        rows[name] |= {
            'baseline': other, 'baseline_ratio': against['time_ratio'],
            'baseline_ratio_interval': against['time_ratio_interval']}
    return rows
