"""Which modules of the libraries' backbones are their levels."""

import pytest
from mmengine.registry import init_default_scope

from mmrlkd.distillation.features.probing import Probe
from mmrlkd.distillation.features.stages import Stages
from mmrlkd.registry import MODELS

BN = dict(type='BN')
RELU = dict(type='ReLU')
CONTEXT = dict(
    type='ResNetV1c', depth=18, in_channels=3, num_stages=4,
    out_indices=(0, 1, 2, 3), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
#: (branches, block, channels of the branches) of HRNet's stages.
HRNET = {
    f'stage{n}': dict(
        num_modules=1, num_branches=n, block='BASIC' if n > 1 else 'BOTTLENECK',
        num_blocks=(1, ) * n,
        num_channels=(18, 36, 72, 144)[:n] if n > 1 else (64, ))
    for n in (1, 2, 3, 4)}
#: Sides of the probe where 128 px will not do.
SIZES = {'SwinTransformer': 256, 'TinyViT': 224, 'Vig': 224, 'InceptionV3': 299}

#: Library, backbone, and for each level: name, module, channels, stride. A map
#: of a branch, which is no level, is named ``-``.
FAMILIES = [
    ('mmdet', dict(type='ResNet', depth=18),
     'C2 layer1 64 /4, C3 layer2 128 /8, C4 layer3 256 /16, C5 layer4 512 /32'),
    ('mmdet', dict(type='ResNeXt', depth=50, groups=32, base_width=4),
     'C2 layer1 256 /4, C3 layer2 512 /8, C4 layer3 1024 /16, C5 layer4 2048 /32'),
    ('mmdet', dict(type='RegNet', arch='regnetx_400mf'),
     'C2 layer1 32 /4, C3 layer2 64 /8, C4 layer3 160 /16, C5 layer4 384 /32'),
    ('mmdet', dict(type='Res2Net', depth=50, scales=4, base_width=26),
     'C2 layer1 256 /4, C3 layer2 512 /8, C4 layer3 1024 /16, C5 layer4 2048 /32'),
    ('mmdet', dict(type='ResNeSt', depth=50),
     'C2 layer1 256 /4, C3 layer2 512 /8, C4 layer3 1024 /16, C5 layer4 2048 /32'),
    ('mmdet', dict(type='SwinTransformer'),
     'C2 norm0 96 /4, C3 norm1 192 /8, C4 norm2 384 /16, C5 norm3 768 /32'),
    ('mmdet', dict(type='SwinTransformer', out_indices=(1, 2, 3)),
     'C3 norm1 192 /8, C4 norm2 384 /16, C5 norm3 768 /32'),
    ('mmdet', dict(type='PyramidVisionTransformer', num_layers=[1, 1, 1, 1]),
     'C2 layers.0.1.1 64 /4, C3 layers.1.1.1 128 /8, C4 layers.2.1.1 320 /16, C5 '
     'layers.3.1.1 512 /32'),
    ('mmdet', dict(type='PyramidVisionTransformerV2', num_layers=[1, 1, 1, 1]),
     'C2 layers.0.2 64 /4, C3 layers.1.2 128 /8, C4 layers.2.2 320 /16, C5 '
     'layers.3.2 512 /32'),
    ('mmdet', dict(type='HRNet', extra=HRNET),
     'C2 stage4 18 /4, C3 stage4 36 /8, C4 stage4 72 /16, C5 stage4 144 /32'),
    ('mmdet', dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.25),
     'C3 stage2 64 /8, C4 stage3 128 /16, C5 stage4 256 /32'),
    ('mmdet', dict(type='CSPNeXt', deepen_factor=0.33, widen_factor=0.25),
     'C3 stage2 64 /8, C4 stage3 128 /16, C5 stage4 256 /32'),
    ('mmdet', dict(type='Darknet', depth=53),
     'C3 conv_res_block3 256 /8, C4 conv_res_block4 512 /16, C5 conv_res_block5 1024 '
     '/32'),
    ('mmdet', dict(type='MobileNetV2', out_indices=(1, 2, 4, 6)),
     'C2 layer2 24 /4, C3 layer3 32 /8, C4 layer5 96 /16, C5 layer7 320 /32'),
    ('mmdet', dict(type='SSDVGG', depth=16, with_last_pool=False, ceil_mode=True,
         out_indices=(3, 4), out_feature_indices=(22, 34)),
     'C3 features.22 512 /8, C4 features.34 1024 /16'),
    ('mmdet', dict(type='EfficientNet', arch='b0', out_indices=(3, 4, 5)),
     'C3 layers.3 40 /8, C4 layers.4 112 /16, C5 layers.5 320 /32'),
    ('mmseg', dict(type='ResNetV1c', depth=18, dilations=(1, 1, 2, 4), strides=(1,
         2, 1, 1)),
     'C2 layer1 64 /4, C3 layer2 128 /8, C4 layer3 256 /8, C5 layer4 512 /8'),
    ('mmseg', dict(type='BiSeNetV1', backbone_cfg=dict(CONTEXT, type='ResNet',
         strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))),
     '- context_path 128 /8, C3 ffm 256 /8, C4 context_path 128 /16'),
    ('mmseg', dict(type='BiSeNetV2'),
     'C2 semantic 16 /4, - semantic 32 /8, C3 bga 128 /8, C4 semantic 64 /16, C5 '
     'semantic 128 /32'),
    ('mmseg', dict(type='CGNet'),
     'C1 norm_prelu_0 35 /2, C2 norm_prelu_1 131 /4, C3 norm_prelu_2 256 /8'),
    ('mmseg', dict(type='DDRNet', channels=32),
     'C2 stem.3 32 /4, C3 spatial_branch_layers.2 128 /8, C4 context_branch_layers.0 '
     '128 /16, C5 context_branch_layers.1 256 /32, C6 context_branch_layers.2 512 '
     '/64'),
    ('mmseg', dict(type='ERFNet'),
     'C1 decoder.5 16 /2, C2 encoder.6 64 /4, C3 encoder.15 128 /8'),
    ('mmseg', dict(type='FastSCNN'),
     '- learning_to_downsample 64 /8, C3 feature_fusion 128 /8, C5 '
     'global_feature_extractor 128 /32'),
    ('mmseg', dict(type='ICNet', backbone_cfg=CONTEXT, in_channels=3,
         layer_channels=(128, 512)),
     'C3 conv_sub1 64 /8, C4 conv_sub2 256 /14.2, C5 conv_sub4 256 /32'),
    ('mmseg', dict(type='MixVisionTransformer', num_layers=[1, 1, 1, 1]),
     'C2 layers.0.2 64 /4, C3 layers.1.2 128 /8, C4 layers.2.2 256 /16, C5 '
     'layers.3.2 512 /32'),
    ('mmseg', dict(type='MobileNetV2', out_indices=(1, 2, 4, 6), strides=(1, 2, 2,
         1, 1, 1, 1), dilations=(1, 1, 1, 2, 2, 4, 4)),
     'C2 layer2 24 /4, C3 layer3 32 /8, C4 layer5 96 /8, C5 layer7 320 /8'),
    ('mmseg', dict(type='MobileNetV3', arch='small'),
     'C1 layer0 16 /2, C2 layer1 16 /4, C3 layer12 576 /8'),
    ('mmseg', dict(type='MSCAN', embed_dims=[32, 64, 160, 256], depths=[1, 1, 1,
         1], norm_cfg=BN),
     'C2 norm1 32 /4, C3 norm2 64 /8, C4 norm3 160 /16, C5 norm4 256 /32'),
    # Each map goes on through a padding that has nothing to do.
    ('mmseg', dict(type='PCPVT', embed_dims=[64, 128, 320, 512],
         depths=[2, 1, 2, 1]),
     'C2 layers.0.1 64 /4, C3 position_encodings.1 128 /8, C4 layers.2.1 320 /16, '
     'C5 position_encodings.3 512 /32'),
    ('mmseg', dict(type='PIDNet', channels=32),
     'C2 stem.3 32 /4, C3 dfm 128 /8, C4 i_branch_layers.0 128 /16, C5 '
     'i_branch_layers.1 256 /32, C6 i_branch_layers.2 512 /64'),
    ('mmseg', dict(type='STDCNet', stdc_type='STDCNet1', in_channels=3,
         channels=(32, 64, 256, 512, 1024), bottleneck_type='cat', num_convs=4,
         norm_cfg=BN, act_cfg=RELU, with_final_conv=False),
     'C3 stages.2 256 /8, C4 stages.3 512 /16, C5 stages.4 1024 /32'),
    ('mmseg', dict(type='UNet', base_channels=8),
     'C0 decoder.0 8 /1, C1 decoder.1 16 /2, C2 decoder.2 32 /4, C3 decoder.3 64 /8, '
     'C4 encoder.4 128 /16'),
    ('mmpretrain', dict(type='ResNet', depth=18),
     'C2 layer1 64 /4, C3 layer2 128 /8, C4 layer3 256 /16, C5 layer4 512 /32'),
    ('mmpretrain', dict(type='ResNet_CIFAR', depth=18),
     'C2 layer1 64 /1, C3 layer2 128 /2, C4 layer3 256 /4, C5 layer4 512 /8'),
    ('mmpretrain', dict(type='ResNet_CIFAR', depth=50),
     'C2 layer1 256 /1, C3 layer2 512 /2, C4 layer3 1024 /4, C5 layer4 2048 /8'),
    # He et al.'s own networks for CIFAR have three stages.
    ('mmpretrain', dict(type='ResNet_CIFAR', depth=18, num_stages=3,
         strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, )),
     'C2 layer1 64 /1, C3 layer2 128 /2, C4 layer3 256 /4'),
    ('mmpretrain', dict(type='ResNet', depth=18, strides=(1, 2, 1, 1),
         dilations=(1, 1, 2, 4)),
     'C2 layer1 64 /4, C3 layer2 128 /8, C4 layer3 256 /8, C5 layer4 512 /8'),
    ('mmpretrain', dict(type='RegNet', arch='regnetx_400mf'),
     'C2 layer1 32 /4, C3 layer2 64 /8, C4 layer3 160 /16, C5 layer4 384 /32'),
    ('mmpretrain', dict(type='Res2Net', depth=50, scales=4, base_width=26),
     'C2 layer1 256 /4, C3 layer2 512 /8, C4 layer3 1024 /16, C5 layer4 2048 /32'),
    ('mmpretrain', dict(type='MobileNetV2'),
     'C2 layer2 24 /4, C3 layer3 32 /8, C4 layer5 96 /16, C5 conv2 1280 /32'),
    ('mmpretrain', dict(type='MobileNetV3', arch='small'),
     'C2 layer1 16 /4, C3 layer3 24 /8, C4 layer8 48 /16, C5 layer12 576 /32'),
    ('mmpretrain', dict(type='ShuffleNetV1'),
     'C3 layers.0 240 /8, C4 layers.1 480 /16, C5 layers.2 960 /32'),
    ('mmpretrain', dict(type='ShuffleNetV2'),
     'C3 layers.0 116 /8, C4 layers.1 232 /16, C5 layers.3 1024 /32'),
    ('mmpretrain', dict(type='EfficientNet', arch='b0'),
     'C2 layers.2 24 /4, C3 layers.3 40 /8, C4 layers.4 112 /16, C5 layers.6 1280 '
     '/32'),
    ('mmpretrain', dict(type='EfficientNetV2', arch='s'),
     'C2 layers.2 48 /4, C3 layers.3 64 /8, C4 layers.5 160 /16, C5 layers.7 1280 '
     '/32'),
    ('mmpretrain', dict(type='ConvNeXt', arch='atto'),
     'C2 stages.0 40 /4, C3 stages.1 80 /8, C4 stages.2 160 /16, C5 stages.3 320 /32'),
    ('mmpretrain', dict(type='SwinTransformer'),
     'C2 stages.0 96 /4, C3 stages.1 192 /8, C4 stages.2 384 /16, C5 stages.3 768 '
     '/32'),
    ('mmpretrain', dict(type='SwinTransformer', patch_size=6, img_size=192,
         pad_small_map=True),
     'C2 stages.0 96 /5.95, C3 stages.1 192 /11.6, C4 stages.2 384 /23.3, C5 '
     'stages.3 768 /42.7'),
    ('mmpretrain', dict(type='SwinTransformer', patch_size=2, img_size=64),
     'C2 stages.0 96 /2, C3 stages.1 192 /4, C4 stages.2 384 /8, C5 stages.3 768 /16'),
    ('mmpretrain', dict(type='VGG', depth=11),
     'C2 features.3 128 /4, C3 features.6 256 /8, C4 features.9 512 /16, C5 '
     'features.12 512 /32'),
    ('mmpretrain', dict(type='RepVGG', arch='A0'),
     'C2 stage_1 48 /4, C3 stage_2 96 /8, C4 stage_3 192 /16, C5 stage_4 1280 /32'),
    ('mmpretrain', dict(type='DenseNet', arch='121'),
     'C2 stages.0 256 /4, C3 stages.1 512 /8, C4 stages.2 1024 /16, C5 transitions.3 '
     '1024 /32'),
    ('mmpretrain', dict(type='CSPDarkNet', depth=53),
     'C2 stages.1 128 /4, C3 stages.2 256 /8, C4 stages.3 512 /16, C5 stages.4 1024 '
     '/32'),
    ('mmpretrain', dict(type='CSPResNet', depth=50),
     'C2 stages.0 128 /4, C3 stages.1 256 /8, C4 stages.2 512 /16, C5 stages.3 1024 '
     '/32'),
    ('mmpretrain', dict(type='MobileOne', arch='s0'),
     'C2 stage1 48 /4, C3 stage2 128 /8, C4 stage3 256 /16, C5 stage4 1024 /32'),
    ('mmpretrain', dict(type='InceptionV3'),
     'C2 Conv2d_4a_3x3 192 /4.21, C3 Mixed_5d 288 /8.54, C4 Mixed_6e 768 /17.6, C5 '
     'Mixed_7c 2048 /37.4'),
    ('mmpretrain', dict(type='AlexNet'),
     'C2 features.1 64 /4.13, C3 features.4 192 /8.53, C4 features.11 256 /18.3, C5 '
     'features.12 256 /42.7'),
    ('mmpretrain', dict(type='EdgeNeXt', arch='xxsmall'),
     'C2 stages.0 24 /4, C3 stages.1 48 /8, C4 stages.2 88 /16, C5 stages.3 168 /32'),
    ('mmpretrain', dict(type='PoolFormer', arch='s12'),
     'C2 network.0 64 /4, C3 network.2 128 /8, C4 network.4 320 /16, C5 norm6 512 '
     '/32'),
    ('mmpretrain', dict(type='MobileViT', arch='xx_small'),
     'C2 layers.1 24 /4, C3 layers.2 48 /8, C4 layers.3 64 /16, C5 conv_1x1_exp 320 '
     '/32'),
    # Of one resolution, behind a stem of convolutions.
    ('mmpretrain', dict(type='Vig', arch='tiny'), 'C4 blocks.11 192 /16'),
    ('mmpretrain', dict(type='VAN', arch='tiny'),
     'C2 blocks1.2 32 /4, C3 blocks2.2 64 /8, C4 blocks3.4 160 /16, C5 blocks4.1 256 '
     '/32'),
    ('mmpretrain', dict(type='SVT', arch='small'),
     'C2 stages.0.1 64 /4, C3 stages.1.1 128 /8, C4 stages.2.9 256 /16, C5 '
     'stages.3.3 512 /32'),
    ('mmpretrain', dict(type='MViT', arch='tiny'),
     'C2 blocks.0 96 /4, C3 blocks.2 192 /8, C4 blocks.7 384 /16, C5 blocks.9 768 '
     '/32'),
    ('mmpretrain', dict(type='TinyViT', arch='5m', window_size=[7, 7, 14, 7],
         gap_before_final_norm=True),
     'C3 stages.0 128 /8, C4 stages.1 160 /16, C5 stages.3 320 /32'),
]


@pytest.mark.parametrize(
    ('library', 'config', 'levels'), FAMILIES,
    ids=[f"{library}-{config['type']}-{i}"
         for i, (library, config, _) in enumerate(FAMILIES)])
def test_a_backbones_levels_are_its_stages(library, config, levels):
    init_default_scope(library)
    size = SIZES.get(config['type'], 128)
    stages = Stages(
        MODELS.build(dict(config)), 'student', Probe(3, size), search=True)
    assert ', '.join(
        f'{"-" if number is None else f"C{number}"} {path} {channels} '
        f'/{size / height:.3g}' for number, path, (channels, height, _) in zip(
            stages.numbers, stages.paths, stages.shapes, strict=True)
    ) == levels


@pytest.mark.parametrize(('config', 'sentence'), [
    (dict(type='VisionTransformer', arch='deit-tiny', img_size=128),
     'without stages: none of its layers shows maps of several resolutions'),
    (dict(type='XCiT', patch_size=16, depth=1, embed_dims=64, num_heads=4),
     'without stages: none of its layers shows maps of several resolutions'),
    (dict(type='Conformer', arch='tiny'),
     'most of whose layers show no maps, so that its stages cannot be found'),
    (dict(type='ConvMixer', arch=dict(
        embed_dims=8, depth=2, patch_size=12, kernel_size=3)),
     'whose finest map has a stride of 12.8 px, which is not near a power of'),
], ids=lambda each: each['type'] if isinstance(each, dict) else '')
def test_a_backbone_whose_stages_cannot_be_told_is_refused(config, sentence):
    init_default_scope('mmpretrain')
    with pytest.raises(ValueError, match=f'student has a backbone .* {sentence}'):
        Stages(MODELS.build(config), 'student', Probe(3, 128), search=True)
