"""What distilling adds to a training step, for ways of choosing levels.

    python benchmarks/step_overhead.py [--json OUT] [--rounds 40] [--variants NAME …]

The floor is a student step plus the whole teacher's forward pass under
no_grad, which is the least that distilling at all levels can cost. The
student is a RetinaNet on ResNet-18 with 16 base channels, the teacher one on
ResNet-50 with 32; both have 64 channels at P2..P5. All variants start from the
same weights and see the same images; ``_measure.py`` says how they are measured.

``expected reward`` is the method worth with all its parts: the teacher's head runs
for what it learns from. Its learning rate is next to 0 here, so that it keeps
drawing each level for half of the images. ``random levels`` draws from the same
distribution without a policy: what choosing and learning cost is the ratio of the two.
"""

import copy
from collections.abc import Callable

import torch
from _measure import Benchmark, Sweep, run
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import read_method
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

FLOOR = 'floor'
#: Rounds that make one quotient: a policy that learns every 10th step has
#: learnt once in them.
GROUP = 10
POLICY = dict(type='mmrlkd.PolicySelector')
UNIFORM = dict(type='mmrlkd.UniformSelector')
RANDOM = dict(type='mmrlkd.RandomSelector', share=0.5)
WORTH = dict(
    read_method('worth').model.selector, mean_cost=3.75,
    learner=dict(type='mmrlkd.ExpectedReward', lr=1e-12))
#: Selector and phase of each variant.
VARIANTS: dict[str, tuple[dict, Phase]] = {
    FLOOR: (UNIFORM, Phase('run', 1.0)),
    'all levels': (UNIFORM, Phase('run', 1.0)),
    'P4 + P5': (
        dict(type='mmrlkd.FixedSelector', levels=['P4', 'P5']),
        Phase('run', 1.0)),
    'P5': (
        dict(type='mmrlkd.FixedSelector', levels=['P5']), Phase('run', 1.0)),
    'random levels': (RANDOM, Phase('run', 1.0)),
    'PPO chooses': (POLICY, Phase('run', 1.0, learn_every=0)),
    'PPO learns, every 5th step': (POLICY, Phase('run', 1.0, learn_every=5)),
    'PPO learns, every step': (POLICY, Phase('run', 1.0)),
    'expected reward chooses': (WORTH, Phase('run', 1.0, learn_every=0)),
    'expected reward learns, every 5th step': (
        WORTH, Phase('run', 1.0, learn_every=5)),
    'expected reward learns, every 10th step': (
        WORTH, Phase('run', 1.0, learn_every=10)),
}
#: What distils the same levels without a policy.
WITHOUT_POLICY = dict.fromkeys(
    ('expected reward chooses', 'expected reward learns, every 5th step',
     'expected reward learns, every 10th step'), 'random levels')


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
        levels=('P2', 'P3', 'P4', 'P5'), selector=selector,
        min_levels=0 if selector in (RANDOM, WORTH) else 1))
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
        model.schedule.set(phase, i, 0.0)
        model.train_step(data, optimizer)

    return floor if name == FLOOR else distil


if __name__ == '__main__':
    run(Benchmark(
        __file__, 'one training step', tuple(VARIANTS),
        Sweep('sizes', 'px', (128, 256)), make_step, GROUP, rounds=40,
        baselines=WITHOUT_POLICY),
        __doc__.splitlines()[0])
