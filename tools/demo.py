"""Train a teacher, then students with each method, and report what came out.

    python tools/demo.py [--task detection] [--methods student uniform worth]
        [--seeds 0] [--work-dir work_dirs/demo] [--figure-dir docs/images]

    python tools/demo.py --task budget [--seeds 0 1 2 3 4] [--work-dir DIR]

shows inference under a latency budget, see docs/latency_budget.md.

A method is ``student``, the student alone, the name of a file in
configs/methods, or a fixed subset of the levels, such as ``P3`` or ``P4+P5``.
Everything that is finished is kept: after an interruption the same command
continues, and with more methods or seeds it trains only those.
"""

import argparse
import io
import json
import os
import platform
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mmrlkd
from mmrlkd.config.compose import method_names
from mmrlkd.config.errors import SENTENCES, errors_as_sentences
from mmrlkd.dynamic.machine import processor_name
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.engine.trained import load_distiller
from projects.experiments.budget import (
    DROPPED,
    TASKS,
    Steps,
    run_task,
    students,
    train_students,
)
from projects.experiments.budget_report import (
    blocks_frame,
    comparison_frame,
    end_to_end_frame,
    write_budget_report,
)
from projects.experiments.processes import (
    THREADS,
    Session,
    cores,
    locked,
    most_jobs,
    stoppable,
)
from projects.experiments.progress import Reporter
from projects.experiments.report import ABOUT, save_figures, write_report
from projects.experiments.results import (
    SELECTIONS,
    TABLE,
    read_results,
    save_table,
)
from projects.experiments.runs import TEACHER, ExperimentFailed, Run
from projects.experiments.selections import select
from projects.experiments.tables import (
    cost_columns,
    differences,
    quality_columns,
    summarise,
    to_terminal,
)
from projects.experiments.training import match_random, train_all
from projects.scenes.scenes import SceneConfig
from projects.scenes.writer import write_dataset

CONFIGS = ROOT / 'configs/demo'
TOOLS = ROOT / 'tools'
STUDENT = 'student'
#: The task that trains controllers of inference, not students with methods.
BUDGET = 'budget'


@dataclass(frozen=True)
class Demo:
    """The demo of a task.

    Attributes:
        work_dir: default folder of its runs.
        library: distribution that its models come from.
        methods: trained by default.
        scenes: data of its configs.
    """
    work_dir: Path
    library: str
    methods: tuple[str, ...]
    scenes: SceneConfig = SceneConfig()


#: A policy beside its control, and beside what looks at no image: a fixed subset that
#: costs no more (P3 costs 2.0, as the policy does after its warm-up), and random levels
#: at the cost that the policy had.
DETECTION = (STUDENT, 'uniform', 'P3', 'random', 'worth', 'worth_shuffled')
#: Where no objects are detected: the same from what the levels themselves tell.
OTHERS = (STUDENT, 'kd', 'uniform', 'random', 'expected_reward', 'shuffled')
DEMOS = {
    'detection': Demo(
        ROOT / 'work_dirs/demo', 'onedl-mmdetection', DETECTION),
    'segmentation': Demo(
        ROOT / 'work_dirs/demo_segmentation', 'onedl-mmsegmentation', OTHERS),
    'classification': Demo(
        ROOT / 'work_dirs/demo_classification', 'onedl-mmpretrain',
        OTHERS, SceneConfig(size=64, classes=10)),
    'instance': Demo(
        ROOT / 'work_dirs/demo_instance', 'onedl-mmdetection', DETECTION),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a teacher, then students with each method, and '
        'report what came out. Continues where it was interrupted.')
    parser.add_argument(
        '--task', choices=[*DEMOS, BUDGET], default='detection',
        help='default: detection')
    parser.add_argument(
        '--methods', nargs='+', metavar='NAME',
        help='student, names from configs/methods, or fixed subsets of the levels '
        f'such as P4+P5; default: {" ".join(DETECTION)}, for segmentation and '
        f'classification {" ".join(OTHERS)}')
    parser.add_argument(
        '--seeds', nargs='+', type=int, metavar='N',
        help='each method is trained with each of them; one seed is no '
        'result; default: 0, of a budget\'s controllers 0 1 2 3 4')
    parser.add_argument(
        '--work-dir', type=Path,
        help='default: work_dirs/demo, for other tasks work_dirs/demo_TASK')
    parser.add_argument(
        '--figure-dir', type=Path,
        help="folder to write the report's figures to, as PNG")
    args = parser.parse_args(argv)
    args.command = shlex.join(
        ['python', 'tools/demo.py', *(sys.argv[1:] if argv is None else argv)])
    if args.task == BUDGET:
        if args.methods or args.figure_dir:
            parser.error('--methods and --figure-dir: a budget has none.')
        args.seeds = list(dict.fromkeys(args.seeds or range(5)))
        args.work_dir = args.work_dir or ROOT / 'work_dirs/demo_budget'
        return args
    chosen = DEMOS[args.task]
    args.work_dir = args.work_dir or chosen.work_dir
    args.methods = list(dict.fromkeys(args.methods or chosen.methods))
    there = [STUDENT, *method_names()]
    for method in args.methods:
        if method not in there and not set(method.split('+')) <= set(
                levels_of(args.task)):
            parser.error(
                f'--methods {method}: accepted are {", ".join(there)}, and levels '
                f'joined by +, of {", ".join(levels_of(args.task))}.')
    args.seeds = list(dict.fromkeys(args.seeds or [0]))
    return args


def levels_of(task: str) -> tuple[str, ...]:
    """Names of the levels that a task's pair distils."""
    return tuple(Config.fromfile(CONFIGS / f'{task}.py').model.levels)


def plan(args: argparse.Namespace, work_dir: Path) -> tuple[Run, list[Run]]:
    """The teacher, and the students by seed and method.

    Raises:
        ExperimentFailed: a method is a search.
    """
    def config(suffix: str = '') -> Path:
        return CONFIGS / f'{args.task}{suffix}.py'

    def student(method: str, seed: int) -> Run:
        folder = work_dir / method / f'seed_{seed}'
        if method == STUDENT:
            return Run(method, seed, folder, config('_student'))
        if method in method_names():
            return Run(method, seed, folder, config(), recipe=method)
        return Run(method, seed, folder, config(), recipe='fixed_subset', options=(
            f'model.selector.levels=[{method.replace("+", ",")}]', ))

    teacher = Run(TEACHER, 0, work_dir / TEACHER, config('_teacher'))
    students = [student(method, seed)
                for seed in args.seeds for method in args.methods]
    for run in students:
        if run.searches:
            raise ExperimentFailed(
                f'--methods {run.method}: it searches before it trains; '
                f'accepted: tools/compare.py {run.config} --method '
                f'{run.method}.')
    return teacher, match_random(students)


def make_scenes(folder: Path, scenes: SceneConfig) -> None:
    """Make a data set, unless it is there.

    Raises:
        ExperimentFailed: it cannot be made.
    """
    try:
        write_dataset(folder, scenes, cores())
    except (OSError, RuntimeError) as error:
        raise ExperimentFailed(f'The scenes could not be made: {error}') from error


def choose(run: Run) -> None:
    """Write down what a run's selector chooses for the validation images."""
    file = run.folder / SELECTIONS
    assert run.checkpoint is not None
    if file.is_file() and (
            file.stat().st_mtime >= run.checkpoint.stat().st_mtime):
        return
    cfg = Config.fromfile(run.dumped)  # the config it was trained with
    with redirect_stdout(io.StringIO()):  # the libraries print what they load
        chosen = select(load_distiller(cfg, run.checkpoint, get_device()), cfg)
    write_atomically(file, chosen.dumps().encode())


def describe_origin(command: str, scenes: dict[str, Any],
                    library: str) -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        'date': datetime.now(UTC).isoformat(timespec='seconds'),
        'command': command,
        'dataset': scenes,
        'machine': {
            'processor': processor_name(),
            'cores': cores(),
            'threads of each training': THREADS,
            'device': get_device(),
        },
        'versions': {
            'mmrlkd': mmrlkd.__version__,
            'python': platform.python_version(),
            **{name: version(name) for name in (
                'torch', 'onedl-mmengine', 'onedl-mmcv', library)},
        },
    }


def demo(args: argparse.Namespace, console: Console) -> None:
    """Make the scenes, train everything, write the report.

    Raises:
        ExperimentFailed: a sentence that says what went wrong.
    """
    work_dir = args.work_dir.resolve()
    figure_dir = args.figure_dir and args.figure_dir.resolve()
    os.chdir(ROOT)  # the configs name files from here
    chosen = DEMOS[args.task]
    teacher, students = plan(args, work_dir)
    scenes = Path(teacher.cfg.data_root)
    make_scenes(scenes, chosen.scenes)

    with locked(work_dir) as lock:
        with Reporter(console) as reporter:
            train_all(teacher, students, most_jobs(len(students) + 1),
                      Session(TOOLS, lock, reporter))
        for run in students:
            if run.selector and run.selector != 'NoneSelector':
                console.print(
                    f'{run.name}: choosing levels for the validation images')
                choose(run)
        facts = json.loads((scenes / 'dataset.json').read_text())
        write_atomically(work_dir / ABOUT, json.dumps(describe_origin(
            args.command, facts, chosen.library), indent=1).encode())
        table, _ = read_results(work_dir, args.methods, front=False)
        table = table[(table.method == TEACHER) | table.seed.isin(args.seeds)]
        save_table(table, work_dir / TABLE)
        report = work_dir / 'report.html'
        write_report(table, work_dir, report)
    if figure_dir:
        save_figures(table, work_dir, figure_dir)
    for title, frame in (
            ('what each model reached: means over seeds, ± 95 % intervals',
             summarise(table, [c for c in quality_columns(table)
                               if not c.key.startswith('stratum/')])),
            ('differences in points, paired over seeds', differences(table)),
            ('what training cost', summarise(table, cost_columns(table, narrow=True)))):
        if frame is not None:
            console.print(to_terminal(frame, title))
    console.print(f'The table is {work_dir / TABLE}, the report {report}',
                  soft_wrap=True)


def budget_demo(args: argparse.Namespace, console: Console) -> None:
    """Show what a controller of inference under a latency budget reaches.

    Raises:
        ExperimentFailed: a sentence that says what went wrong.
    """
    work_dir = args.work_dir.resolve()
    os.chdir(ROOT)
    runs = {task: students(task, work_dir / task.name, CONFIGS) for task in TASKS}
    for task in TASKS:
        cfg = runs[task][DROPPED].cfg
        for folder, scenes in (
                (cfg.data_root, task.scenes),
                (cfg.test_root, replace(
                    task.scenes, train=16, val=task.tested, seed=1))):
            make_scenes(Path(folder), scenes)
    with locked(work_dir) as lock:
        with Reporter(console) as reporter:
            session = Session(TOOLS, lock, reporter)
            train_students([run for each in runs.values() for run in each.values()],
                           session)
            files = {task.name: run_task(task, runs[task], args.seeds,
                                         work_dir / task.name, Steps(session))
                     for task in TASKS}
        facts = json.loads((Path(cfg.data_root) / 'dataset.json').read_text())
        report = work_dir / 'report.html'
        write_budget_report(files, describe_origin(
            args.command, facts, 'onedl-mmdetection'), report)
    for name, each in files.items():
        summary = json.loads((each.comparison / 'comparison.json').read_text())
        for frame, title in (
                (comparison_frame(summary), f'{name}: {summary["quality"]} of '
                 'held-out images, ± 95 % intervals over seeds'),
                (end_to_end_frame(each), f'{name}: end to end'),
                (blocks_frame(each), f'{name}: training with dropped blocks')):
            console.print(f'\n{title}\n{frame.to_string()}', soft_wrap=True)
    console.print(f'The report is {report}', soft_wrap=True)


@errors_as_sentences((*SENTENCES, ExperimentFailed), 'demo.py')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(THREADS)
    console = Console(
        width=None if sys.stdout.isatty() else 140, highlight=False)
    with stoppable():
        (budget_demo if args.task == BUDGET else demo)(args, console)


if __name__ == '__main__':
    main()
