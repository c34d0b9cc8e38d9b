"""Pairs of the libraries' own configs, by naming them.

Each is built, shown what it has, and trained for one step with the PPO policy
on small images. The rows of docs/pairs.md come from here:

    pytest tests/zoo --write-pairs
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData

from mmrlkd.config.pair import pair_model
from mmrlkd.registry import MODELS

DOCUMENT = Path(__file__).parents[2] / 'docs/pairs.md'
BATCH = 2


@dataclass(frozen=True)
class Pair:
    """Two configs of a library and what to train them on.

    Attributes:
        library: whose config folder.
        student, teacher: paths in it, without ``.py``.
        size: side of the images, small, but not for windows of transformers.
    """
    library: str
    student: str
    teacher: str
    size: int = 64

    @property
    def name(self) -> str:
        return ' from '.join(path.partition('/')[2] for path in (
            self.student, self.teacher))

    @property
    def configs(self) -> tuple[str, str]:
        return tuple(f'{self.library}::{path}.py'
                     for path in (self.student, self.teacher))


DETECTION = [
    Pair('mmdet', 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
         'faster_rcnn/faster-rcnn_r101_fpn_1x_coco'),
    Pair('mmdet', 'pafpn/faster-rcnn_r50_pafpn_1x_coco',
         'faster_rcnn/faster-rcnn_r50_fpn_1x_coco'),
    Pair('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco',
         'retinanet/retinanet_r50_fpn_1x_coco'),
    Pair('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco',
         'faster_rcnn/faster-rcnn_r50_fpn_1x_coco'),
    Pair('mmdet', 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco',
         'fcos/fcos_r101-caffe_fpn_gn-head-1x_coco'),
    Pair('mmdet', 'atss/atss_r50_fpn_1x_coco', 'atss/atss_r101_fpn_1x_coco'),
    Pair('mmdet', 'gfl/gfl_r50_fpn_1x_coco', 'gfl/gfl_r101_fpn_ms-2x_coco'),
    Pair('mmdet', 'rtmdet/rtmdet_tiny_8xb32-300e_coco',
         'rtmdet/rtmdet_s_8xb32-300e_coco'),
    Pair('mmdet', 'yolox/yolox_tiny_8xb8-300e_coco',
         'yolox/yolox_s_8xb8-300e_coco'),
    Pair('mmdet', 'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco',
         'yolo/yolov3_mobilenetv2_8xb24-ms-416-300e_coco'),
    Pair('mmdet', 'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
         'dino/dino-4scale_r50_8xb2-12e_coco'),
    Pair('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco',
         'mask_rcnn/mask-rcnn_r101_fpn_1x_coco'),
    Pair('mmdet', 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco',
         'cascade_rcnn/cascade-rcnn_r101_fpn_1x_coco'),
    Pair('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco',
         'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco'),
    Pair('mmdet', 'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco',
         'mask_rcnn/mask-rcnn_r50_fpn_1x_coco'),
]
SEGMENTATION = [
    Pair('mmseg', 'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512',
         'deeplabv3plus/deeplabv3plus_r101-d8_4xb4-80k_ade20k-512x512'),
    Pair('mmseg', 'pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512',
         'pspnet/pspnet_r101-d8_4xb4-80k_ade20k-512x512'),
    Pair('mmseg', 'upernet/upernet_r18_4xb4-80k_ade20k-512x512',
         'upernet/upernet_r50_4xb4-80k_ade20k-512x512'),
    Pair('mmseg', 'sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512',
         'sem_fpn/fpn_r101_4xb4-160k_ade20k-512x512'),
    Pair('mmseg', 'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512',
         'segformer/segformer_mit-b1_8xb2-160k_ade20k-512x512'),
    Pair('mmseg', 'upernet/upernet_r18_4xb4-80k_ade20k-512x512',
         'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512'),
    Pair('mmseg', 'mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb4-160k_ade20k-512x512',
         'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-160k_ade20k-512x512'),
    Pair('mmseg', 'ocrnet/ocrnet_hr18s_4xb4-80k_ade20k-512x512',
         'hrnet/fcn_hr18_4xb4-80k_ade20k-512x512'),
    Pair('mmseg', 'unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64',
         'unet/unet-s5-d16_pspnet_4xb4-40k_drive-64x64'),
    Pair('mmseg', 'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024',
         'ddrnet/ddrnet_23_in1k-pre_2xb6-120k_cityscapes-1024x1024', 128),
    Pair('mmseg', 'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512',
         'segnext/segnext_mscan-s_1xb16-adamw-160k_ade20k-512x512', 128),
]
CLASSIFICATION = [
    Pair('mmpretrain', 'resnet/resnet18_8xb32_in1k', 'resnet/resnet34_8xb32_in1k'),
    Pair('mmpretrain', 'resnet/resnet18_8xb16_cifar10',
         'resnet/resnet34_8xb16_cifar10', 32),
    Pair('mmpretrain', 'mobilenet_v2/mobilenet-v2_8xb32_in1k',
         'resnet/resnet50_8xb32_in1k'),
    Pair('mmpretrain', 'mobilenet_v3/mobilenet-v3-small_8xb128_in1k',
         'mobilenet_v3/mobilenet-v3-large_8xb128_in1k'),
    Pair('mmpretrain', 'shufflenet_v2/shufflenet-v2-1x_16xb64_in1k',
         'resnet/resnet50_8xb32_in1k'),
    Pair('mmpretrain', 'convnext/convnext-tiny_32xb128_in1k',
         'convnext/convnext-small_32xb128_in1k'),
    Pair('mmpretrain', 'resnet/resnet50_8xb32_in1k',
         'swin_transformer/swin-tiny_16xb64_in1k', 224),
    Pair('mmpretrain', 'swin_transformer/swin-tiny_16xb64_in1k',
         'convnext/convnext-tiny_32xb128_in1k', 224),
    Pair('mmpretrain', 'efficientnet/efficientnet-b0_8xb32_in1k',
         'efficientnet/efficientnet-b1_8xb32_in1k'),
]
PAIRS = DETECTION + SEGMENTATION + CLASSIFICATION

#: Pairs that cannot work, and the sentence that says why.
REFUSED = [
    (Pair('mmpretrain', 'resnet/resnet18_8xb32_in1k',
          'vision_transformer/vit-base-p16_64xb64_in1k'),
     'teacher has a backbone .VisionTransformer. without stages'),
    (Pair('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco',
          'retinanet/retinanet_r101-caffe_fpn_1x_coco'),
     'teacher.config: data_preprocessor.mean is'),
]


def build(pair: Pair):
    init_default_scope(pair.library)
    torch.manual_seed(0)
    config = pair_model(*pair.configs)
    config.selector.rollout_batches = 1
    config.probe_size = pair.size
    model = MODELS.build(config)
    model.student.init_weights()
    MessageHub.get_current_instance().update_info('iter', 0)  # as a Runner
    return model


def detection_batch(model, size):
    from mmdet.testing import demo_mm_inputs
    data = demo_mm_inputs(
        BATCH, [(3, size, size)] * BATCH, num_items=[2] * BATCH,
        num_classes=80, with_mask=getattr(model.student, 'with_mask', False),
        use_box_type=True)
    for sample in data['data_samples']:
        for key in ('scale_factor', 'pad_shape'):
            sample.set_metainfo({key: sample.get(key, (1, 1))})
    return data


def segmentation_batch(model, size):
    from mmseg.structures import SegDataSample
    samples = []
    for _ in range(BATCH):
        sample = SegDataSample(metainfo=dict(
            img_shape=(size, size), ori_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=torch.randint(
            model.student.num_classes, (1, size, size)))
        samples.append(sample)
    model.data_preprocessor.size = (size, size)
    return dict(inputs=_images(size), data_samples=samples)


def classification_batch(model, size):
    from mmpretrain.structures import DataSample
    return dict(
        inputs=torch.stack(_images(size)),
        data_samples=[DataSample().set_gt_label(i) for i in range(BATCH)])


def _images(size):
    return [torch.randint(256, (3, size, size), dtype=torch.uint8)
            for _ in range(BATCH)]


BATCHES = {'mmdet': detection_batch, 'mmseg': segmentation_batch,
           'mmpretrain': classification_batch}


def row(pair, model):
    """Its line of the table."""
    levels = ', '.join(
        mine.name if mine.name == theirs.name else f'{mine.name} ← {theirs.name}'
        for mine, theirs in zip(
            model.levels, model.teacher.levels, strict=True))
    shapes = ', '.join(
        f'{mine.channels}→{theirs.channels}' + (
            '' if mine.size == theirs.size else ' resized')
        for mine, theirs in zip(
            model.levels, model.teacher.levels, strict=True))
    return (f'| `{pair.student}` | `{pair.teacher}` | {levels} | '
            f'{shapes} |')


@pytest.mark.parametrize('pair', PAIRS, ids=lambda pair: pair.name)
def test_a_pair_trains(pair, documented):
    model = build(pair)
    documented(pair.library, row(pair, model))
    data = BATCHES[pair.library](model, pair.size)
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-6),
        clip_grad=dict(max_norm=1)))
    before = copy.deepcopy(model.distillation.links.state_dict())
    scalars = model.train().train_step(data, optimizer)
    assert torch.isfinite(scalars['loss']), scalars
    assert scalars['loss_distill'] > 0
    assert scalars['skipped_updates'] == 0
    assert 1 <= scalars['levels_per_image'] <= len(model.levels)
    assert torch.isfinite(scalars['policy.entropy'])
    after = model.distillation.links.state_dict()
    assert not before or any(
        not torch.equal(before[key], after[key]) for key in before)
    plain = MODELS.build(pair_model(*pair.configs).student)
    plain.load_state_dict(model.state_dict(), strict=True)


@pytest.mark.parametrize(
    ('pair', 'sentence'), REFUSED, ids=lambda each: getattr(each, 'name', ''))
def test_a_pair_that_cannot_work_says_why(pair, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(pair)
