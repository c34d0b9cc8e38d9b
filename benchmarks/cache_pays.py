"""Where a cache of the teacher's maps pays, for a config and sizes of images.

    python benchmarks/cache_pays.py [CONFIG] [--sizes 64 128 256] [--json OUT]

Needs neither data nor checkpoints: images and weights are random, of which times do
not depend. Measured for each size, by image:

- s, the student's own training step,
- t, the teacher's maps of all levels,
- r, reading them instead: hashing the image, finding, checking and converting what
  the file has, which the operating system holds in memory.

With all maps found, an iteration takes (s + r) / (s + t) of one without a cache; what
both have beside that (loading images, the losses of levels) brings the ratio nearer
to 1. It is at most 0.6 from t = 2/3 s + 5/3 r on, which is given as t / s.

Where the maps are too many for the memory, their bytes come from the disk. That pays
if it gives more than ``disk needed``, the bytes of an image over t − r. ``disk`` is
what it gave when the system was made to forget the file; waiting is part of it, so
other processes slow it down. On the CPU with one thread (OMP_NUM_THREADS=1), the
other seconds are those of the process.
"""

import argparse
import gc
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import compare
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from step_overhead import make_batch

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import load_config
from mmrlkd.config.student import check_distils, model_config
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.teacher.cache import TeacherCache, read_settings
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.teacher.online import Teacher
from mmrlkd.engine.atomic import write_atomically
from mmrlkd.registry import MODELS

#: The ratio of an epoch that is asked for, and steps that warm up.
WANTED, WARM_UP = 0.6, 2
#: Bytes that are read from the disk at least.
ENOUGH = 3 * 10**7


def make_model(path: str, device: torch.device) -> PyramidDistiller:
    """The distiller of a config, with random weights."""
    cfg = load_config(path)
    check_distils(cfg)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    cfg.model.teacher.checkpoint = None
    torch.manual_seed(0)
    model = MODELS.build(model_config(cfg))
    model.student.init_weights()
    return model.to(device).train()


def make_data(task: str, batch: int, size: int) -> dict:
    """Random images and annotations, as a data loader gives them."""
    if task == 'detection':
        return make_batch(batch, size)
    images = list(torch.randint(256, (batch, 3, size, size), dtype=torch.uint8))
    samples: list[Any] = []
    for _ in range(batch):
        if task == 'classification':
            from mmpretrain.structures import DataSample
            samples.append(DataSample().set_gt_label(torch.randint(5, (1, ))))
        else:
            from mmengine.structures import PixelData
            from mmseg.structures import SegDataSample
            sample = SegDataSample(metainfo=dict(
                img_shape=(size, size), ori_shape=(size, size)))
            sample.gt_sem_seg = PixelData(data=torch.randint(3, (1, size, size)))
            samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def all_maps(pyramid: LazyPyramid) -> LazyPyramid:
    """Ask a pyramid for all its levels."""
    pyramid.begin()
    for level in range(len(pyramid.computed)):
        pyramid.level(level)
    return pyramid


def measure(model: PyramidDistiller, size: int, batch: int, rounds: int,
            dtype: str) -> dict[str, Any]:
    """Seconds and bytes of an image of one size."""
    teacher = model.teacher
    assert teacher is not None
    device = next(model.parameters()).device
    data = make_data(model.adapter.task, batch, size)
    optimizer = build_optim_wrapper(model.student, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-6)))
    images = model.data_preprocessor(
        dict(data, inputs=list(data['inputs'])), True)['inputs']
    with tempfile.TemporaryDirectory(prefix='cache_pays_') as folder:
        teacher.cache = TeacherCache(
            read_settings(dict(path=folder, dtype=dtype)), teacher.config)
        all_maps(teacher.extract(images))
        teacher.cache.store.flush()
        kinds: dict[str, Callable[[], Any]] = {
            'teacher': lambda: all_maps(LazyPyramid(
                teacher.adapter, teacher.levels, images, teacher.execution)),
            'student': lambda: model.student.train_step(data, optimizer),
            'read': lambda: all_maps(teacher.extract(images))}
        seconds = interleaved(kinds, rounds, device)
        assert not any(kinds['read']().computed), 'a map was not found'
        byte = sum(each.stat().st_size for each in Path(folder).glob('data.mdb'))
        rate = disk_rate(teacher, images, Path(folder))
        teacher.cache = None
    rows = {name: compare(each / batch, seconds['teacher'] / batch, 1)
            for name, each in seconds.items()}
    s, t, r = (np.median(seconds[name]) / batch
               for name in ('student', 'teacher', 'read'))
    quotients = (seconds['student'] + seconds['read'], seconds['student']
                 + seconds['teacher'])
    return dict(
        size=images.shape[-1], rows=rows, bytes=byte / batch,
        warm=compare(*quotients, 1),
        needed_share=(WANTED**-1 - 1) + r / s / WANTED, share=t / s,
        disk_needed=byte / batch / (t - r) if t > r else None, disk=rate)


def interleaved(kinds: dict[str, Callable[[], Any]], rounds: int,
                device: torch.device) -> dict[str, np.ndarray]:
    """Seconds of each kind, all in turn each round."""
    alone = device.type == 'cpu' and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    seconds = {name: np.empty(rounds) for name in kinds}
    for i in range(-WARM_UP, rounds):
        for name, run in kinds.items():
            begin = clock()
            run()
            if device.type == 'cuda':
                torch.cuda.synchronize()
            if i >= 0:
                seconds[name][i] = clock() - begin
    return seconds


def disk_rate(teacher: Teacher, images: torch.Tensor, folder: Path) -> float:
    """Bytes a second of reading what the system does not hold in memory."""
    cache = teacher.cache
    assert cache is not None
    batches = [images]
    size = (folder / 'data.mdb').stat().st_size
    for i in range(ENOUGH // size):  # other images, for a file of some length
        batches.append(images + i + 1)
        all_maps(teacher.extract(batches[-1]))
    cache.store.flush()
    del cache.__dict__['store']  # a cached property: closes the file
    gc.collect()
    file = os.open(folder / 'data.mdb', os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    size = (folder / 'data.mdb').stat().st_size
    entries = [cache.entries(teacher.model, teacher.execution, each)
               for each in batches]
    names = [level.name for level in teacher.levels]
    begin = time.perf_counter()
    for each in entries:
        for name in names:
            each.read(name, range(len(images)))
    return size / (time.perf_counter() - begin)


def show(config: str, result: dict[str, dict]) -> None:
    """A row for each size."""
    table = Table(title=f'{config}: one image')
    for column in ('px', 's, ms', 't, ms', 'r, ms', 'MB', '(s + r) / (s + t)',
                   't / s', f'for {WANTED}', 'disk needed', 'disk, MB/s'):
        table.add_column(column, justify='right')
    for size, row in result.items():
        low, high = row['warm']['time_ratio_interval']
        s, t, r = (1e3 * row['rows'][name]['seconds']
                   for name in ('student', 'teacher', 'read'))
        needed = row['disk_needed']
        table.add_row(
            size, f'{s:.1f}', f'{t:.1f}', f'{r:.2f}', f"{row['bytes'] / 1e6:.2f}",
            f"{row['warm']['time_ratio']:.2f} ({low:.2f} to {high:.2f})",
            f"{row['share']:.2f}", f"{row['needed_share']:.2f}",
            'never' if needed is None else f'{needed / 1e6:.0f}',
            f"{row['disk'] / 1e6:.0f}")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', nargs='?', default='configs/demo/detection.py')
    parser.add_argument('--sizes', type=int, nargs='+', default=[64, 128, 256],
                        help='side of the images in px, multiples of 32')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--dtype', choices=('bfloat16', 'exact'),
                        default='bfloat16', help='of the stored maps')
    parser.add_argument('--json', type=Path, help='where to write the result')
    args = parser.parse_args()
    if min(args.batch, args.rounds) < 2 or any(
            size < 32 or size % 32 for size in args.sizes):
        parser.error(f'--sizes {args.sizes}, --batch {args.batch}, --rounds '
                     f'{args.rounds}: accepted are multiples of 32, and numbers '
                     '>= 2.')
    MMLogger.get_current_instance().setLevel('ERROR')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    model = make_model(args.config, device)
    rows: dict[str, dict] = {}
    for size in args.sizes:
        row = measure(model, size, args.batch, args.rounds, args.dtype)
        rows[str(row['size'])] = row
        if args.json:
            write_atomically(args.json, (json.dumps(dict(
                config=args.config, batch=args.batch, rounds=args.rounds,
                dtype=args.dtype, torch=torch.__version__,
                device=torch.cuda.get_device_name() if device.type == 'cuda' else
                f'{platform.machine()} CPU, {torch.get_num_threads()} threads',
                sizes=rows), indent=1) + '\n').encode())
    show(args.config, rows)


if __name__ == '__main__':
    main()
