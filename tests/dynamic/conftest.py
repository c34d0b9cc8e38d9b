"""Tiny models of the three libraries, and a table whose best settings are known."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from mmrlkd.dynamic.table import ProfileTable, TableHeader, write_table
from mmrlkd.registry import MODELS

_NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@dataclass
class Task:
    """A model in eval mode, and a function that makes batches for it."""

    name: str
    model: Any
    #: (images, size) -> preprocessed batch.
    make: Callable[..., dict]

    def batch(self, images: int = 2, size: tuple[int, int] = (64, 64),
              seed: int = 0) -> dict:
        """``inputs`` and ``data_samples`` with annotations."""
        return self.make(images, size, seed)

    def predict(self, batch: dict) -> list[dict[str, Tensor]]:
        """The predictions' tensors, of a copy of the samples."""
        with torch.no_grad():
            samples = self.model(**copy.deepcopy(batch), mode='predict')
        return [predictions(self.name, sample) for sample in samples]


def predictions(task: str, sample: Any) -> dict[str, Tensor]:
    if task.startswith('detection'):
        return dict(sample.pred_instances.items())
    if task == 'segmentation':
        return dict(logits=sample.seg_logits.data,
                    labels=sample.pred_sem_seg.data)
    return dict(score=sample.pred_score, label=sample.pred_label)


def _annotate(name: str, index: int, ori: tuple[int, int],
              meta: dict[str, Any]) -> Any:
    height, width = ori
    if name.startswith('detection'):
        from mmdet.structures import DetDataSample
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[2., 3., width / 2, height / 2]]),
            labels=torch.tensor([index % 5]))
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    elif name == 'segmentation':
        from mmseg.structures import SegDataSample
        sample = SegDataSample(metainfo=meta)
        labels = torch.zeros(1, height, width).long()
        labels[:, height // 2:] = 1 + index % 3
        sample.gt_sem_seg = PixelData(data=labels)
    else:
        from mmpretrain.structures import DataSample
        sample = DataSample(metainfo=meta).set_gt_label(index % 4)
    return sample


def _maker(name: str, model: nn.Module) -> Callable[..., dict]:
    def make(images: int, size: tuple[int, int], seed: int) -> dict:
        # The pipeline doubled the image.
        ori = size[0] // 2, size[1] // 2
        meta = dict(img_shape=size, ori_shape=ori, pad_shape=size,
                    scale_factor=(2.0, 2.0))
        generator = torch.Generator().manual_seed(seed)
        inputs = [torch.randint(0, 256, (3, *size), generator=generator).byte()
                  for _ in range(images)]
        samples = [_annotate(name, i, ori, dict(meta, img_id=i))
                   for i in range(images)]
        # mmpretrain's takes a stacked batch as well.
        if name == 'classification':
            inputs = torch.stack(inputs)
        return model.data_preprocessor(
            dict(inputs=inputs, data_samples=samples), False)
    return make


_BACKBONE: dict[str, Any] = dict(
    type='ResNet', depth=18, base_channels=4, norm_cfg=dict(type='BN'),
    style='pytorch', norm_eval=False)
_FPN = dict(type='FPN', in_channels=[4, 8, 16, 32], out_channels=8, num_outs=4)


def _two_stage() -> dict:
    # Two anchors: mmdet's RPN fails on a map with a single one.
    anchors = dict(type='AnchorGenerator', scales=[2], ratios=[0.5, 1.0],
                   strides=[4, 8, 16, 32])
    coder = dict(type='DeltaXYWHBBoxCoder')
    return dict(
        type='FasterRCNN',
        data_preprocessor=dict(type='DetDataPreprocessor', **_NORM,
                               bgr_to_rgb=True, pad_size_divisor=32),
        backbone=dict(_BACKBONE, out_indices=(0, 1, 2, 3)), neck=_FPN,
        rpn_head=dict(type='RPNHead', in_channels=8, feat_channels=8,
                      anchor_generator=anchors, bbox_coder=coder,
                      loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
                      loss_bbox=dict(type='L1Loss')),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor', out_channels=8, finest_scale=10,
                roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=0),
                featmap_strides=[4, 8, 16, 32]),
            bbox_head=dict(
                type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=16,
                roi_feat_size=3, num_classes=5, bbox_coder=coder,
                reg_class_agnostic=True,
                loss_cls=dict(type='CrossEntropyLoss'),
                loss_bbox=dict(type='L1Loss'))),
        train_cfg=None,
        test_cfg=dict(
            rpn=dict(nms_pre=40, max_per_img=40, min_bbox_size=0,
                     nms=dict(type='nms', iou_threshold=0.7)),
            rcnn=dict(score_thr=0.0, max_per_img=50,
                      nms=dict(type='nms', iou_threshold=0.5))))


def _segmentor() -> dict:
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', **_NORM, bgr_to_rgb=True,
            size_divisor=32, test_cfg=dict(size_divisor=32)),
        backbone=dict(_BACKBONE, stem_channels=4, out_indices=(0, 1, 2, 3)),
        neck=_FPN,
        decode_head=dict(
            type='FPNHead', in_channels=[8] * 4, in_index=[0, 1, 2, 3],
            feature_strides=[4, 8, 16, 32], channels=8, dropout_ratio=0.1,
            num_classes=4, norm_cfg=dict(type='BN'), align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss')),
        train_cfg=dict(), test_cfg=dict(mode='whole'))


def _classifier() -> dict:
    return dict(
        type='ImageClassifier',
        data_preprocessor=dict(type='ClsDataPreprocessor', **_NORM,
                               to_rgb=True, num_classes=4),
        backbone=dict(_BACKBONE, stem_channels=4, out_indices=(3, )),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=4, in_channels=32))


@pytest.fixture
def build_task(tiny_student: dict) -> Callable[..., Task]:
    """Build a task's tiny model by name; ``change`` edits its config."""
    makers: dict[str, tuple[str, Callable[[], dict]]] = {
        'detection': ('mmdet', lambda: tiny_student),
        'detection-two-stage': ('mmdet', _two_stage),
        'segmentation': ('mmseg', _segmentor),
        'classification': ('mmpretrain', _classifier),
    }

    def build(name: str,
              change: Callable[[ConfigDict], None] | None = None) -> Task:
        scope, config = makers[name]
        init_default_scope(scope)
        cfg = ConfigDict(copy.deepcopy(config()))
        if change is not None:
            change(cfg)
        torch.manual_seed(4)
        model = MODELS.build(cfg)
        # Random statistics and scales, so that nothing cancels by chance.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                module.running_mean.normal_(0, 0.1)
        return Task(name, model.eval(), _maker(name, model))

    return build


@pytest.fixture(params=['detection', 'detection-two-stage', 'segmentation',
                        'classification'])
def task(request: pytest.FixtureRequest, build_task) -> Task:
    """Each of the tiny models in turn."""
    return build_task(request.param)


@pytest.fixture
def pixelwise() -> SimpleNamespace:
    """Parts of models whose outputs depend on one pixel only, at stride 1."""

    @MODELS.register_module()
    class PixelwiseBackbone(nn.Module):

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)

        def forward(self, x):
            return (self.conv(x).tanh(), )

    def backbone() -> ConfigDict:
        return ConfigDict(type='mmrlkd.PixelwiseBackbone')

    def segmentor(cfg: ConfigDict) -> None:
        cfg.backbone, cfg.neck = backbone(), None
        cfg.decode_head = ConfigDict(
            type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=0,
            kernel_size=1, concat_input=False, dropout_ratio=0, num_classes=4,
            norm_cfg=dict(type='BN'), align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss'))

    return SimpleNamespace(backbone=backbone, segmentor=segmentor)


# -- a table ------------------------------------------------------------------

KNOBS = [dict(name='scale', values=[0.5, 0.75, 1.0]),
         dict(name='blocks', values=['few', 'all'])]
#: (S,) in ms: 10 each for scale and 15 for blocks, on top of 10.
LATENCY = torch.tensor([10., 25, 20, 35, 30, 45])
#: (2, S). Images of type 0 need the scale, those of type 1 the blocks.
QUALITY = torch.tensor([[0.2, 0.2, 0.5, 0.5, 0.8, 0.8],
                        [0.2, 0.8, 0.2, 0.8, 0.2, 0.8]])


def synthetic_rows(images: int, seed: int = 0) -> list[dict]:
    """All settings of images of two types, which feature 0 shows with some noise;
    3 more features say nothing. Latencies have 2 % of noise."""
    draw = torch.Generator().manual_seed(seed)
    kind = torch.randint(2, (images, ), generator=draw)
    features = torch.randn(images, 4, generator=draw)
    features[:, 0] = 4. * kind - 2 + 0.5 * features[:, 0]
    noise = torch.randn(images, len(LATENCY), generator=draw)
    latency = LATENCY * (1 + 0.02 * noise)
    return [dict(
        image=i, image_id=f'{i}.jpg', scale=KNOBS[0]['values'][s // 2],
        blocks=KNOBS[1]['values'][s % 2], latency_ms=latency[i, s].item(),
        quality=QUALITY[kind[i], s].item(), difficulty=f'type {kind[i]}',
        feature=features[i].tolist() if s == 0 else None)
        for i in range(images) for s in range(len(LATENCY))]


@pytest.fixture
def write_profile(tmp_path: Path) -> Callable[..., Path]:
    """Write some rows, by default a synthetic profile of 200 images."""

    def write(rows: list[dict] | None = None, kind: str = 'complete',
              knobs: list[dict] = KNOBS) -> Path:
        path = tmp_path / 'profile.parquet'
        write_table(path, TableHeader(kind, knobs), (
            synthetic_rows(200) if rows is None else rows))
        return path

    return write


@pytest.fixture
def profile_rows() -> Callable[..., list[dict]]:
    """See :func:`synthetic_rows`."""
    return synthetic_rows


@pytest.fixture
def profile(write_profile: Callable[..., Path]) -> ProfileTable:
    """200 images."""
    return ProfileTable.read(write_profile(), 'complete')
