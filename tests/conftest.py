"""What every test starts from: the same seed, and no one else's global state."""

import copy
import functools
import gc
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault('MPLBACKEND', 'Agg')
# Tests are small: a second thread waits more than it works, in processes that
# tests start, too.
os.environ['OMP_NUM_THREADS'] = '1'

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.config import utils as config_utils
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import Registry, init_default_scope
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin

from mmrlkd import registry

torch.set_num_threads(1)  # pytest may have imported torch before

OWN_REGISTRIES = [r for r in vars(registry).values()
                  if isinstance(r, Registry) and r.scope == 'mmrlkd']


#: The files that take longest, which begin first: what begins last decides how
#: long the other workers wait at the end (``pytest --dist loadfile``).
LONG = (
    'tools/test_distributed.py', 'zoo/test_zoo.py',
    'rl/meta/test_gradients.py', 'distillation/selection/test_mean_cost.py',
    'integration/test_resuming.py', 'integration/test_training.py',
    'integration/test_every_member.py', 'tools/test_library_tools.py',
    'tools/test_search.py', 'tools/test_train_and_test.py',
    'search/test_executors.py', 'engine/test_data_parallel.py',
    'distillation/selection/selectors/test_policy_learns.py',
    'rl/test_context.py', 'rl/test_learning.py', 'rl/test_ranks.py',
    'test_package.py', 'test_compat.py',
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    place = {folder / name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('gpu') is not None:
            item.add_marker(pytest.mark.skip(reason='needs CUDA'))


@pytest.fixture(autouse=True, scope='module')
def garbage_is_searched_for_in_new_objects_only() -> None:
    """What lives by now, the libraries above all, lives as long as the process.

    mmengine's data sets call ``gc.collect()`` when they are built, which would
    visit all of it each time: a third of a run of a few iterations.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope='session')
def metafiles_read_once() -> Iterator[None]:
    """For each ``library::…`` mmengine reads all metafiles of the library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_utils, '_get_cfg_metainfo', functools.cache(
            config_utils._get_cfg_metainfo))
        yield


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed every generator; a test that needs the number can ask for it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return 0


def _manager_classes(base: type = ManagerMixin) -> Iterator[type]:
    for cls in base.__subclasses__():
        yield cls
        yield from _manager_classes(cls)


@pytest.fixture(autouse=True)
def no_leaking_managers() -> Iterator[None]:
    """Forget the default scope, loggers, message hubs, … that a test made.

    mmengine keeps them by name for the life of the process. Without this the
    second Runner of a session resumes counters of the first and resolves types
    in its scope. What a fixture of a wider scope made stays.
    """
    before = {cls: dict(cls._instance_dict) for cls in _manager_classes()}
    yield
    for cls in list(_manager_classes()):
        kept = before.get(cls, {})
        for name, instance in cls._instance_dict.items():
            if name not in kept and isinstance(instance, MMLogger):
                for handler in instance.handlers:
                    handler.close()
        cls._instance_dict.clear()
        cls._instance_dict.update(kept)


@pytest.fixture(autouse=True)
def no_leaking_members() -> Iterator[None]:
    """Forget what a test itself registered; lazily imported members stay."""
    before = [set(r.module_dict) for r in OWN_REGISTRIES]
    yield
    for own, names in zip(OWN_REGISTRIES, before):
        for name, member in list(own.module_dict.items()):
            if name not in names and not member.__module__.startswith(
                    ('mmrlkd.', 'projects.')):
                del own.module_dict[name]


# -- a detector and a dataset small enough for tests -------------------------

LEVELS = ('P2', 'P3', 'P4', 'P5')


def _tiny_model(base_channels: int, fpn: int) -> ConfigDict:
    return ConfigDict(
        type='RetinaNet',
        _scope_='mmdet',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32),
        backbone=dict(
            type='ResNet', depth=18, base_channels=base_channels,
            out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN'),
            norm_eval=False, style='pytorch'),
        neck=dict(
            type='FPN', in_channels=[base_channels * 2**i for i in range(4)],
            out_channels=fpn, num_outs=4),
        bbox_head=dict(
            type='RetinaHead', num_classes=5, in_channels=fpn,
            feat_channels=fpn, stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=2,
                scales_per_octave=1, ratios=[1.0], strides=[4, 8, 16, 32]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss')),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4,
                min_pos_iou=0, ignore_iof_thr=-1),
            sampler=dict(type='PseudoSampler'), allowed_border=-1,
            pos_weight=-1, debug=False),
        test_cfg=dict(
            nms_pre=50, min_bbox_size=0, score_thr=0.0,
            nms=dict(type='nms', iou_threshold=0.5), max_per_img=10))


@pytest.fixture
def tiny_student() -> dict:
    """Config of a detector that runs in milliseconds on 64 px images."""
    return _tiny_model(4, 8)


@pytest.fixture
def even_student(tiny_student: dict) -> dict:
    """One whose head averages over the ranks and whose statistics stand
    still, so that parts of a batch can add up to it."""
    tiny_student.type = 'GFL'
    tiny_student.backbone.norm_eval = True
    tiny_student.bbox_head = ConfigDict(
        type='GFLHead', num_classes=5, in_channels=8, feat_channels=8,
        stacked_convs=1, norm_cfg=dict(type='GN', num_groups=2), reg_max=4,
        anchor_generator=dict(
            type='AnchorGenerator', ratios=[1.0], octave_base_scale=4,
            scales_per_octave=1, strides=[4, 8, 16, 32]),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
        # GFL divides these by at least one, a rank as well as the whole.
        loss_dfl=dict(type='DistributionFocalLoss', loss_weight=0.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=0.0))
    tiny_student.train_cfg = ConfigDict(
        assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1,
        pos_weight=-1, debug=False)
    return tiny_student


@pytest.fixture
def tiny_teacher_model() -> dict:
    """Config of a wider one."""
    return _tiny_model(8, 16)


@pytest.fixture
def tiny_teacher(tiny_teacher_model: dict, tmp_path: Path) -> dict:
    """``teacher=…`` of a distiller: the wider detector, with random weights
    saved as its checkpoint."""
    torch.manual_seed(1)
    model = registry.MODELS.build(copy.deepcopy(tiny_teacher_model))
    model.init_weights()
    path = tmp_path / 'teacher.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return dict(config=tiny_teacher_model, checkpoint=str(path))


@pytest.fixture
def build_distiller(tiny_student: dict, tiny_teacher: dict):
    """Build a distiller of the tiny models; arguments override its config."""

    def build(**overrides):
        torch.manual_seed(2)
        cfg = dict(
            type='mmrlkd.PyramidDistiller', student=tiny_student,
            teacher=tiny_teacher, levels=LEVELS,
            selector=dict(type='mmrlkd.UniformSelector'))
        return registry.MODELS.build(copy.deepcopy({**cfg, **overrides}))

    return build


@pytest.fixture(scope='session')
def tiny_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 16 + 8 images of 64 px."""
    from projects.scenes.scenes import SceneConfig
    from projects.scenes.writer import write_dataset
    folder = tmp_path_factory.mktemp('data') / 'tiny'
    write_dataset(
        folder, SceneConfig(train=16, val=8, size=64, source='digits'))
    return folder


@pytest.fixture
def scenes_dataset(tiny_scenes: Path) -> Callable[[str], dict]:
    """Config of a split of the tiny scenes, by its name."""
    import projects.scenes.detection  # noqa: F401
    meta = dict(meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                           'scale_factor'))

    def config(split: str) -> dict:
        flip = [dict(type='RandomFlip', prob=0.5)] if split == 'train' else []
        return dict(
            type='mmrlkd.ScenesDataset', data_root=f'{tiny_scenes}/',
            ann_file=f'annotations/{split}.json',
            data_prefix=dict(img=f'{split}/'), test_mode=split == 'val',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='Resize', scale=(64, 64), keep_ratio=True),
                *flip,
                dict(type='PackDetInputs', **(meta if not flip else {})),
            ])

    return config


@pytest.fixture
def detection_batch(scenes_dataset: Callable[[str], dict]) -> dict:
    """A batch of 4 images, as mmdet's data loader gives it."""
    init_default_scope('mmdet')
    dataset = registry.DATASETS.build(scenes_dataset('train'))
    return pseudo_collate([dataset[i] for i in range(4)])


# -- whole runs --------------------------------------------------------------

PPO = dict(
    type='mmrlkd.PolicySelector', rollout_batches=2,
    policy=dict(type='mmrlkd.LSTMPolicy', hidden=16),
    reward=dict(type='mmrlkd.ResidualReward'),
    learner=dict(type='mmrlkd.PPO', epochs=2, minibatches=2))
#: Two updates of the student in each, the second in four iterations.
PHASES = [
    dict(name='pretrain', share=1 / 3),
    dict(name='policy', share=1 / 3, student_every=2),
    dict(name='finetune', share=1 / 3, learn_every=1),
]


@pytest.fixture
def plain_config_text(monkeypatch):
    """Every Runner and every checkpoint formats the config with yapf, which
    would take most of these tests' time."""
    monkeypatch.setattr(
        Config, 'pretty_text', property(lambda cfg: '\n'.join(
            f'{key} = {value!r}' for key, value in cfg.to_dict().items())))


@pytest.fixture
def run_config(tiny_scenes, scenes_dataset, tiny_student, tiny_teacher,
               tmp_path):
    """A config of a whole run; arguments override its top-level keys.

    ``total`` is the number of the student's updates, or of epochs of them.
    Without ``validate`` the run has no validation, which most tests do not need.
    """

    def build(name='run', selector=PPO, phases=PHASES, by_epoch=False,
              student=None, total=None, validate=True, **overrides):
        custom = [dict(type='mmrlkd.SeedHook')]
        total = total or (8 if phases is None else 6)
        if phases is not None:
            custom.append(dict(type='mmrlkd.PhaseHook', phases=phases))
            custom.append(dict(type='mmrlkd.PolicyHealthHook', window=2))
        sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
        loader = dict(batch_size=4, num_workers=0)
        cfg = dict(
            default_scope='mmdet',
            custom_imports=dict(imports=['projects.scenes.detection']),
            work_dir=str(tmp_path / name),
            model=dict(
                type='mmrlkd.PyramidDistiller', student=student or tiny_student,
                teacher=tiny_teacher, levels=LEVELS, selector=selector),
            train_dataloader=dict(
                **loader, sampler=dict(type=sampler, shuffle=True),
                dataset=scenes_dataset('train')),
            val_dataloader=dict(
                **loader, sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=scenes_dataset('val')),
            val_evaluator=dict(
                type='mmrlkd.DifficultyCocoMetric', metric='bbox',
                ann_file=str(tiny_scenes / 'annotations/val.json')),
            train_cfg=(
                dict(type='EpochBasedTrainLoop', max_epochs=total,
                     val_interval=3) if by_epoch else
                dict(type='mmrlkd.SeededIterBasedTrainLoop', max_iters=total,
                     val_interval=3)),
            val_cfg=dict(),
            optim_wrapper=dict(
                type='OptimWrapper', clip_grad=dict(max_norm=10.0),
                optimizer=dict(type='AdamW', lr=1e-3)),
            param_scheduler=[dict(
                type='LinearLR', start_factor=0.1, by_epoch=False, begin=0,
                end=6)],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(
                    type='mmrlkd.DistillCheckpointHook', interval=1,
                    by_epoch=by_epoch)),
            custom_hooks=custom,
            log_processor=dict(type='LogProcessor', by_epoch=by_epoch),
            visualizer=dict(
                type='Visualizer',
                vis_backends=[dict(type='LocalVisBackend')]),
            randomness=dict(seed=3),
            log_level='WARNING',
            experiment_name=f'{tmp_path.name}_{name}')
        if not validate:
            cfg.update(dict.fromkeys(
                ('val_dataloader', 'val_evaluator', 'val_cfg')))
        return Config(copy.deepcopy({**cfg, **overrides}))

    return build


@pytest.fixture
def train(plain_config_text):
    """Run a config to its end; returns the Runner."""

    def run(cfg, resume=False):
        torch.manual_seed(99)  # whatever the process did before
        cfg = copy.deepcopy(cfg)
        cfg.resume = resume
        cfg.experiment_name += f'_{torch.randint(2**31, ()).item()}' * resume
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return run


# -- recorded tasks ------------------------------------------------------------


@pytest.fixture
def recorded_task():
    """A recorded environment of made-up images, with levels and widths as
    wanted. What a level gains depends on the task and on the image."""
    from mmrlkd.distillation.selection.recorded import RecordedEnvironment, Recording
    from mmrlkd.rl import subset_table
    from mmrlkd.structures import LevelSpace

    def build(levels=3, width=4, images=20, context=0, horizon=1, seed=0):
        draw = torch.Generator().manual_seed(seed)
        features = torch.randn(images, levels * width, generator=draw)
        worth = torch.randn(levels, generator=draw) + .3 * features[:, ::width]
        table = subset_table(levels, torch.device('cpu'))
        space = LevelSpace(
            tuple(f'P{i + 2}' for i in range(levels)),
            tuple(2.**-i for i in range(levels)), 2., (width, ) * levels,
            width + 1, tuple(4. * 2**i for i in range(levels)),
            context=context)
        return RecordedEnvironment(Recording(
            global_feature=torch.randn(images, width + 1, generator=draw),
            level_features=features,
            context=torch.rand(images, context, generator=draw),
            level_losses=torch.rand(images, levels, generator=draw),
            gains=worth @ table.T.float(), batch_size=[images]), space, horizon)

    return build


@pytest.fixture
def save_task(recorded_task):
    """A recorded task as a file; see :func:`recorded_task` for its options."""
    from mmrlkd.distillation.selection.recorded import Header, save_recording

    def save(path, reward='AlignmentReward', checkpoint='ab' * 32,
             config='configs/demo/detection.py', **kwargs):
        task = recorded_task(**kwargs)
        save_recording(path, task.recording, Header(
            task.space, config, checkpoint, dict(type=reward), .5))
        return task

    return save
