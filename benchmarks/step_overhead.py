"""What distilling adds to a training step, for ways of choosing levels.

    python benchmarks/step_overhead.py [--json OUT] [--rounds 40]

The floor is a student step plus the whole teacher's forward pass under
no_grad, which is the least that distilling at all levels can cost. The
student is a RetinaNet on ResNet-18 with 16 base channels, the teacher one on
ResNet-50 with 32; both have 64 channels at P2..P5. All variants start from the
same weights, see the same images and run in turn, one step each a round, each
round in another order. Every four rounds, a variant's seconds are divided by
the floor's; the ratio is the median of these quotients, given with the 95 %
interval of that median (bootstrap). Peak memory is measured apart, each
variant in a process of its own: on the CPU (Linux) what is resident, on a GPU
what is allocated.
"""

import argparse
import copy
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mmrlkd  # noqa: F401
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

FLOOR = 'floor'
#: Rounds that make one quotient: a policy that learns every 4th step has
#: learnt once in them.
GROUP = 4
POLICY = dict(type='mmrlkd.PolicySelector')
UNIFORM = dict(type='mmrlkd.UniformSelector')
#: Selector and phase of each variant.
VARIANTS: dict[str, tuple[dict, Phase]] = {
    FLOOR: (UNIFORM, Phase('run', 1)),
    'all levels': (UNIFORM, Phase('run', 1)),
    'P4 + P5': (
        dict(type='mmrlkd.FixedSelector', levels=['P4', 'P5']),
        Phase('run', 1)),
    'P5': (
        dict(type='mmrlkd.FixedSelector', levels=['P5']), Phase('run', 1)),
    'policy chooses': (POLICY, Phase('run', 1, learn_every=0)),
    'policy learns, every 4th step': (POLICY, Phase('run', 1, learn_every=4)),
    'policy learns, every step': (POLICY, Phase('run', 1)),
}


def retinanet(depth: int, base_channels: int) -> ConfigDict:
    """A detector with 64 channels at P2..P5."""
    expansion = 4 if depth >= 50 else 1
    return ConfigDict(
        type='RetinaNet', _scope_='mmdet',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[123.7, 116.3, 103.5],
            std=[58.4, 57.1, 57.4], bgr_to_rgb=True, pad_size_divisor=32),
        backbone=dict(
            type='ResNet', depth=depth, base_channels=base_channels,
            out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN'),
            norm_eval=False, style='pytorch'),
        neck=dict(
            type='FPN', out_channels=64, num_outs=4,
            in_channels=[base_channels * expansion * 2**i for i in range(4)]),
        bbox_head=dict(
            type='RetinaHead', num_classes=5, in_channels=64, feat_channels=64,
            stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=4,
                scales_per_octave=1, ratios=[1.0], strides=[4, 8, 16, 32]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss')),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4,
                min_pos_iou=0, ignore_iof_thr=-1),
            sampler=dict(type='PseudoSampler'), allowed_border=-1,
            pos_weight=-1, debug=False))


def make_batch(batch: int, size: int) -> dict:
    """Random images with five random boxes each."""
    from mmdet.structures import DetDataSample
    samples = []
    for _ in range(batch):
        corner = torch.rand(5, 2) * size * 0.6
        sample = DetDataSample(metainfo=dict(
            img_shape=(size, size), ori_shape=(size, size),
            batch_input_shape=(size, size), pad_shape=(size, size)))
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + size * 0.3], dim=1),
            labels=torch.randint(5, (5, )))
        samples.append(sample)
    images = torch.randint(256, (batch, 3, size, size), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


def make_step(name: str, batch: int, size: int,
              device: torch.device) -> Callable[[int], None]:
    """A function that runs one training step, given its number."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    selector, phase = VARIANTS[name]
    model = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=retinanet(18, 16),
        teacher=dict(config=retinanet(50, 32), checkpoint=None),
        levels=('P2', 'P3', 'P4', 'P5'), selector=selector))
    data = make_batch(batch, size)
    model.student.init_weights()
    model = model.to(device).train()
    trained = model.student if name == FLOOR else model
    optimizer = build_optim_wrapper(trained, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4)))
    teacher = model.distillation.teacher.model

    def floor(_: int) -> None:
        images = model.data_preprocessor(copy.copy(data), True)['inputs']
        with torch.no_grad():
            teacher.extract_feat(images)
        model.student.train_step(data, optimizer)

    def distil(i: int) -> None:
        model.schedule(phase, i, 0.0)
        model.train_step(data, optimizer)

    return floor if name == FLOOR else distil


def measure_times(batch: int, size: int, rounds: int,
                  device: torch.device) -> dict[str, np.ndarray]:
    """Seconds of each step, by variant."""
    steps = {name: make_step(name, batch, size, device) for name in VARIANTS}
    seconds = {name: np.zeros(rounds) for name in VARIANTS}
    order = np.random.default_rng(0)
    for i in track(range(-GROUP, rounds), f'{size} px', transient=True):
        for name in order.permutation(list(VARIANTS)):
            begin = time.perf_counter()
            steps[name](i + GROUP)
            if device.type == 'cuda':
                torch.cuda.synchronize()
            if i >= 0:  # the first ones warm up
                seconds[name][i] = time.perf_counter() - begin
    return seconds


def peak_memory(name: str, batch: int, size: int,
                device: torch.device) -> float:
    """MiB that five steps use at most, beyond the model at rest."""
    step = make_step(name, batch, size, device)
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


def measure_memory(batch: int, size: int) -> dict[str, float]:
    """MiB by variant, each in a process of its own."""
    result = {}
    for name in VARIANTS:
        done = subprocess.run(
            [sys.executable, __file__, '--memory-of', name, '--batch',
             str(batch), '--sizes', str(size)],
            capture_output=True, text=True, check=True)
        result[name] = float(done.stdout.split()[-1])
    return result


def compare(seconds: np.ndarray, floor: np.ndarray) -> dict[str, Any]:
    """Time of a variant against the floor's."""
    groups = seconds.reshape(-1, GROUP).sum(axis=1)
    quotients = groups / floor.reshape(-1, GROUP).sum(axis=1)
    drawn = np.random.default_rng(0).choice(
        quotients, size=(10_000, len(quotients)))
    return dict(
        seconds=float(np.median(groups)) / GROUP,
        time_ratio=float(np.median(quotients)),
        time_ratio_interval=np.quantile(
            np.median(drawn, axis=1), [0.025, 0.975]).tolist())


def show(size: int, result: dict[str, dict[str, Any]]) -> None:
    """Print one size's table."""
    table = Table(title=f'one training step, {size} px')
    for column in ('variant', 'ms', '÷ floor', '95 %', 'peak MiB', '÷ floor'):
        table.add_column(
            column, justify='left' if column == 'variant' else 'right')
    for name, row in result.items():
        low, high = row['time_ratio_interval']
        table.add_row(
            name, f"{1e3 * row['seconds']:.1f}", f"{row['time_ratio']:.3f}",
            f'{low:.3f} to {high:.3f}', f"{row['peak_mib']:.0f}",
            f"{row['memory_ratio']:.2f}")
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', type=Path, help='where to write the result')
    parser.add_argument('--rounds', type=int, default=40,
                        help=f'steps of each variant, a multiple of {GROUP}')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--sizes', type=int, nargs='+', default=[128, 256])
    parser.add_argument('--memory-of', choices=VARIANTS,
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rounds < GROUP or args.rounds % GROUP:
        parser.error(f'--rounds={args.rounds}; accepted: a multiple of '
                     f'{GROUP}, at least {GROUP}.')
    MMLogger.get_current_instance().setLevel('ERROR')  # initialisation logs
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if args.memory_of:
        print(peak_memory(args.memory_of, args.batch, args.sizes[0], device))
        return
    result = dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else
        f'{platform.machine()} CPU, {torch.get_num_threads()} threads',
        torch=torch.__version__, batch=args.batch, rounds=args.rounds,
        sizes={})
    for size in args.sizes:
        memory = measure_memory(args.batch, size)
        seconds = measure_times(args.batch, size, args.rounds, device)
        rows = {
            name: dict(
                **compare(seconds[name], seconds[FLOOR]),
                peak_mib=memory[name],
                memory_ratio=memory[name] / memory[FLOOR])
            for name in VARIANTS
        }
        show(size, rows)
        result['sizes'][size] = rows
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
