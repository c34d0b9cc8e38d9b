"""What distilling adds to a step: ways of choosing levels, and of running the teacher.

    python benchmarks/step_overhead.py [--json OUT [--resume]] [--rounds 20]
        [--variants NAME …]

The floor is a student step plus the whole teacher's forward pass under no_grad, as
its library builds and runs it: batch normalisation not folded. The teacher is a
RetinaNet on ResNet-50, the student one on ResNet-18; ``narrow`` and ``wide`` are their
base channels (:data:`WIDTHS`), the number is the images' size. Both have 64 channels
at P2..P5. All variants start from the same weights and see the same images;
``_measure.py`` says how they are measured.

``as built`` is the floor's teacher; without a word, batch normalisation is folded, as
by default; all further options are on top of that. ``warm cache`` has all maps of the
images, in memory as far as the operating system keeps them there.

``policy`` is the method worth with all its parts: the teacher's head runs for what it
learns from, and it learns every 5th step. Its learning rate is next to 0 here, so
that it keeps drawing each level for half of the images. ``random levels`` draws from
the same distribution without a policy: what choosing and learning cost is the ratio
of the two.

``P2 or nothing`` is the same policy, certain that the other levels are not worth their
cost: what worth comes to within a tenth of the study's training. Half of the images
have P2, and the teacher does not run for the others. ``small`` is its network in the
demos. ``every 10th step`` and ``as scheduled``, which has the warm-up of worth, too,
are not measured by themselves, but computed from the seconds of the steps that learn
and of those that do not.
"""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _measure import Benchmark, Sweep, run
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import mmrlkd  # noqa: F401
from mmrlkd.config.compose import read_method
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import MODELS
from mmrlkd.structures import Phase

FLOOR = 'floor'
#: Rounds that make one quotient: a policy that learns every 5th step has
#: learnt in the first of them.
GROUP = 5
#: Base channels of student and teacher.
WIDTHS = {'narrow': (16, 32), 'wide': (32, 64)}
POLICY = dict(type='mmrlkd.PolicySelector')
UNIFORM = dict(type='mmrlkd.UniformSelector')
RANDOM = dict(type='mmrlkd.RandomSelector', share=0.5)
WORTH = dict(
    read_method('worth').model.selector, mean_cost=3.75,
    learner=dict(type='mmrlkd.ExpectedReward', lr=1e-12))
P2_OR_NOTHING = dict(WORTH, mean_cost=2.0)
#: As in configs/_base_/demo_parts.py.
NETWORK = dict(
    type='mmrlkd.MLPPolicy', hidden=64, global_dim=128, level_dim=64)
SMALL = dict(P2_OR_NOTHING, policy=NETWORK)
SMALL_WORTH = dict(WORTH, policy=NETWORK)
#: Where the caches of this process lie.
FOLDER = tempfile.TemporaryDirectory()


@dataclass(frozen=True)
class Variant:
    """A way of choosing levels, and of running the teacher.

    Attributes:
        selector: its config; of P2_OR_NOTHING and SMALL, the policy is certain.
        learn_every: see :class:`~mmrlkd.structures.Phase`.
        teacher: options of the teacher.
        cached: whether its maps are cached.
    """
    selector: dict
    learn_every: int = 1
    teacher: dict[str, Any] = field(default_factory=dict)
    cached: bool = False


MAY_BE_EMPTY = (RANDOM, WORTH, P2_OR_NOTHING, SMALL, SMALL_WORTH)
AS_BUILT = dict(fold=False)
FAST = dict(channels_last=True)
LOWER = dict(FAST, dtype='bfloat16')
VARIANTS = {
    FLOOR: Variant(UNIFORM, teacher=AS_BUILT),
    'all levels, as built': Variant(UNIFORM, teacher=AS_BUILT),
    'all levels': Variant(UNIFORM),
    'all levels, channels_last': Variant(UNIFORM, teacher=FAST),
    'all levels, channels_last, compiled': Variant(
        UNIFORM, teacher=dict(FAST, compile=True)),
    'all levels, channels_last, bfloat16': Variant(UNIFORM, teacher=LOWER),
    'all levels, warm cache': Variant(UNIFORM, cached=True),
    'random levels': Variant(RANDOM),
    'policy': Variant(WORTH, 5),
    'policy, channels_last': Variant(WORTH, 5, FAST),
    'policy, channels_last, bfloat16': Variant(WORTH, 5, LOWER),
    'policy, warm cache': Variant(WORTH, 5, cached=True),
    'P2 or nothing': Variant(P2_OR_NOTHING, 5),
    'P2 or nothing, small': Variant(SMALL, 5),
    'P2 or nothing, small, channels_last': Variant(SMALL, 5, FAST),
    # Measured if they are asked for.
    'P4 + P5': Variant(dict(type='mmrlkd.FixedSelector', levels=['P4', 'P5'])),
    'P5': Variant(dict(type='mmrlkd.FixedSelector', levels=['P5'])),
    'PPO chooses': Variant(POLICY, 0),
    'PPO learns, every 5th step': Variant(POLICY, 5),
    'PPO learns, every step': Variant(POLICY),
    'policy chooses': Variant(WORTH, 0),
    'policy, small': Variant(SMALL_WORTH, 5),
}
USUAL = tuple(VARIANTS)[1:15]
#: Rows computed from the steps of others.
RARER = {'policy, every 10th step': ('policy', 2),
         'P2 or nothing, every 10th step': ('P2 or nothing', 2),
         # Every 2nd step of a tenth of the training, every 10th of the rest: 14 %.
         'policy, small, as scheduled': ('policy, small', 0.2 / 0.14)}
#: What distils the same levels without a policy.
WITHOUT_POLICY = dict.fromkeys(
    ('policy', 'policy, every 10th step', 'policy chooses', 'policy, small',
     'policy, small, as scheduled'), 'random levels')


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


def make_model(variant: Variant, name: str, case: str) -> PyramidDistiller:
    """The distiller of a variant; ``name`` is its own."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    student, teacher = WIDTHS[case.partition('-')[0]]
    options: dict[str, Any] = dict(variant.teacher)
    if variant.cached:
        options['cache'] = str(Path(FOLDER.name) / f'{name} {case}')
    model = MODELS.build(dict(
        type='mmrlkd.PyramidDistiller', student=retinanet(18, student),
        teacher=dict(config=retinanet(50, teacher), checkpoint=None, **options),
        levels=('P2', 'P3', 'P4', 'P5'), selector=variant.selector,
        min_levels=0 if variant.selector in MAY_BE_EMPTY else 1))
    model.student.init_weights()
    if variant.selector in (P2_OR_NOTHING, SMALL):
        model.selector.policy.heads.action[-1].bias.data[1:] = -20.
    return model


def make_step(name: str, batch: int, case: str,
              device: torch.device) -> Callable[[int], None]:
    """A function that runs one training step, given its number."""
    variant = VARIANTS[name]
    model = make_model(variant, name, case).to(device).train()
    data = make_batch(batch, int(case.partition('-')[2]))
    trained = model.student if name == FLOOR else model
    optimizer = build_optim_wrapper(trained, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4)))
    if variant.cached:
        images = model.data_preprocessor(copy.copy(data), True)['inputs']
        pyramid = model.teacher.extract(images)
        for i in range(len(model.levels)):
            pyramid.level(i)
        pyramid.score_logits()
        model.teacher.cache.store.flush()

    def floor(_: int) -> None:
        images = model.data_preprocessor(copy.copy(data), True)['inputs']
        with torch.no_grad():
            model.teacher.model.extract_feat(images)
        model.student.train_step(data, optimizer)

    phase = Phase('run', 1.0, learn_every=variant.learn_every)

    def distil(i: int) -> None:
        model.schedule.set(phase, i, 0.0)
        model.train_step(data, optimizer)

    return floor if name == FLOOR else distil


if __name__ == '__main__':
    run(Benchmark(
        __file__, 'one training step', tuple(VARIANTS),
        Sweep('cases', '', ('narrow-128', 'narrow-256', 'wide-128'),
              ('narrow-128', 'narrow-256', 'wide-128', 'wide-256')),
        make_step, GROUP, rounds=20, baselines=WITHOUT_POLICY, usual=USUAL,
        rarer=RARER),
        __doc__.splitlines()[0])
