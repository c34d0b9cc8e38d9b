"""What a warm cache of the teacher's maps saves of a training iteration.

    python benchmarks/teacher_cache.py [--json OUT] [--rounds 40] [--method NAME …]

An iteration loads its batch and trains on it, as in an epoch of the demo's study
(configs/demo/study.py), whose data and teacher ``tools/study.py`` makes. The floor
has no cache. ``warm`` finds all maps in the file; ``cold`` finds none and adds those
of each iteration, which the first epoch does. All variants see the same 64 images,
not flipped anew. ``_measure.py`` says how they are measured; on the CPU with one
thread (OMP_NUM_THREADS=1), seconds are those of the process.
"""

import argparse
import atexit
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import torch
from _measure import Benchmark, Sweep, compare, measure_times
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from mmrlkd.config.compose import load_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

CONFIG = 'configs/demo/study.py'
IMAGES, BATCH = 64, 8
GROUP = 5
FLOOR = 'no cache'
#: The store's dtype of each variant, and whether it has the maps.
VARIANTS = {
    FLOOR: ('', False), 'warm, exact': ('exact', True),
    'warm, bfloat16': ('bfloat16', True), 'cold, exact': ('exact', False),
    'cold, bfloat16': ('bfloat16', False)}


def make_step(name: str, batch: int, method: str,
              device: torch.device) -> Callable[[int], None]:
    """A function that loads a batch and trains on it, given its number."""
    dtype, warm = VARIANTS[name]
    cfg = load_config(CONFIG, method)
    import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    if dtype:
        folder = tempfile.mkdtemp(prefix='teacher_cache_')
        atexit.register(shutil.rmtree, folder, True)
        cfg.model.teacher.cache = dict(path=folder, dtype=dtype)
    loader = cfg.train_dataloader
    loader.batch_size = batch
    loader.dataset = dict(
        type='mmrlkd.FixedAugmentations', variants=1,
        dataset=dict(loader.dataset, indices=IMAGES))
    data = Runner.build_dataloader(loader, seed=0)
    model = MODELS.build(cfg.model)
    model.student.init_weights()
    model = model.to(device).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    if warm:
        fill(model, data.dataset, batch)
    batches = cycle(data)  # InfiniteSampler: never ends

    def step(number: int) -> None:
        if dtype and not warm:  # maps of another teacher: none is known
            model.teacher.cache._model = os.urandom(16)
        model.schedule.set(Phase('run', 1.0, learn_every=4), number, 0.0)
        model.train_step(next(batches), optimizer)

    return step


def fill(model: PyramidDistiller, data, batch: int) -> None:
    """Compute all maps of the images, as an epoch would that selects all."""
    for begin in range(0, len(data), batch):
        items = [data[i] for i in range(begin, min(begin + batch, len(data)))]
        images = model.data_preprocessor(dict(
            inputs=[item['inputs'] for item in items],
            data_samples=[item['data_samples'] for item in items]))['inputs']
        pyramid = model.teacher.extract(images, [])
        pyramid.begin()
        for level in range(len(model.levels)):
            pyramid.level(level)
        pyramid.score_logits()
    model.teacher.cache.store.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', type=Path, help='where to write the result')
    parser.add_argument(
        '--rounds', type=int, default=40,
        help=f'iterations of each variant, a multiple of {GROUP}')
    parser.add_argument(
        '--method', nargs='+', default=['uniform', 'ppo', 'worth'],
        help='see --method of tools/train.py')
    args = parser.parse_args()
    if args.rounds < GROUP or args.rounds % GROUP:
        parser.error(f'--rounds={args.rounds}; accepted: a multiple of '
                     f'{GROUP}, at least {GROUP}.')
    MMLogger.get_current_instance().setLevel('ERROR')  # initialisation logs
    benchmark = Benchmark(
        __file__, 'one iteration', tuple(VARIANTS),
        Sweep('method', '', tuple(args.method)), make_step, GROUP, args.rounds)
    result: dict = dict(
        device=f'{platform.machine()} CPU, {torch.get_num_threads()} threads',
        torch=torch.__version__, batch=BATCH, rounds=args.rounds, method={})
    for method in args.method:
        seconds = measure_times(
            benchmark, BATCH, method, args.rounds, torch.device('cpu'))
        result['method'][method] = {
            name: compare(each, seconds[FLOOR], GROUP)
            for name, each in seconds.items()}
        for name, row in result['method'][method].items():
            low, high = row['time_ratio_interval']
            print(f"{method:8} {name:16} {1e3 * row['seconds']:7.1f} ms  "
                  f"{row['time_ratio']:.3f} ({low:.3f} to {high:.3f})", flush=True)
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
