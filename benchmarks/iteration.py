"""What an iteration costs, for each way of choosing levels.

    python benchmarks/iteration.py [--json OUT] [--rounds 20] [--size 128]

Runs the demo's student and teacher on random images, one iteration of each
variant in turn, and reports the median time relative to the student alone;
side by side in one run, so that only the ratios are to be read. Uses a GPU if
there is one.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.table import Table

import mmrlkd  # noqa: F401
from mmrlkd.distillers import PyramidDistiller
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

ROOT = Path(__file__).parents[1]
POLICY = dict(type='mmrlkd.PolicySelector')
VARIANTS = {
    'student alone': (dict(type='mmrlkd.NoneSelector'), Phase('run', 1)),
    'all levels': (dict(type='mmrlkd.UniformSelector'), Phase('run', 1)),
    'P4 + P5': (
        dict(type='mmrlkd.FixedSelector', levels=['P4', 'P5']),
        Phase('run', 1)),
    'P5': (
        dict(type='mmrlkd.FixedSelector', levels=['P5']), Phase('run', 1)),
    'policy, not learning': (POLICY, Phase('run', 1, learn_every=0)),
    'policy, learning': (POLICY, Phase('run', 1)),
    'policy phase': (
        POLICY, Phase('run', 1, student_every=5, freeze_backbone=True)),
}


def build(selector: dict, device: torch.device) -> PyramidDistiller:
    init_default_scope('mmdet')
    student = Config.fromfile(ROOT / 'configs/demo/student.py').model
    teacher = Config.fromfile(ROOT / 'configs/demo/teacher.py').model
    model = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=student,
        teacher=dict(config=teacher, checkpoint=None),
        levels=('P2', 'P3', 'P4', 'P5'), selector=selector))
    return model.to(device).train()


def make_batch(batch: int, size: int) -> dict:
    """Random images with five random boxes each."""
    from mmdet.structures import DetDataSample
    samples = []
    for _ in range(batch):
        corner = torch.rand(5, 2) * size * 0.6
        boxes = torch.cat([corner, corner + size * 0.3], dim=1)
        sample = DetDataSample(metainfo=dict(
            img_shape=(size, size), ori_shape=(size, size),
            batch_input_shape=(size, size), pad_shape=(size, size)))
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.randint(5, (5, )))
        samples.append(sample)
    images = torch.randint(256, (batch, 3, size, size), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', type=Path, help='where to write the result')
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--size', type=int, default=128)
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.manual_seed(0)
    batch = make_batch(args.batch, args.size)
    runs = {}
    for name, (selector, phase) in VARIANTS.items():
        model = build(selector, device)
        optimizer = build_optim_wrapper(model, dict(
            type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4)))
        runs[name] = (model, phase, optimizer, [])
    for i in range(-3, args.rounds):
        for model, phase, optimizer, seconds in runs.values():
            model.schedule(phase, i + 5, 0.0)
            begin = time.perf_counter()
            model.train_step(batch, optimizer)
            if device.type == 'cuda':
                torch.cuda.synchronize()
            if i >= 0:  # the first ones warm up
                seconds.append(time.perf_counter() - begin)
    # A mean, not a median: the policy learns in one iteration of four and
    # the student in one of five.
    means = {name: statistics.mean(run[-1]) for name, run in runs.items()}
    alone = means['student alone']
    result = dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else
        f'{platform.processor() or platform.machine()}, '
        f'{torch.get_num_threads()} threads',
        torch=torch.__version__, batch=args.batch, size=args.size,
        rounds=args.rounds, seconds=means,
        ratio={name: value / alone for name, value in means.items()})
    table = Table(title=f"one iteration on {result['device']}")
    for column in ('variant', 'ms', '÷ student alone'):
        table.add_column(column, justify='right' if column != 'variant' else
                         'left')
    for name, value in means.items():
        table.add_row(name, f'{value * 1e3:.1f}', f'{value / alone:.2f}')
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
