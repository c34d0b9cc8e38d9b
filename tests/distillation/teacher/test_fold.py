"""Folding changes no number, whatever way a library builds its layers."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmengine.registry import init_default_scope
from mmpretrain.models.utils import LayerNorm2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import weight_norm

from mmrlkd.distillation.features.adapters import adapt
from mmrlkd.distillation.teacher.fold import fold_batch_norm, tensors
from mmrlkd.registry import MODELS

C = 6
IMAGE = torch.randn(2, C, 9, 8, generator=torch.Generator().manual_seed(0))


class Layers(nn.Module):
    """Modules ``a``, ``b``, … and what a forward pass does with them."""

    def __init__(self, run, **modules):
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.run(self, x)


def conv(**options):
    return nn.Conv2d(C, C, 3, padding=1, **options)


def bn(**options):
    return nn.BatchNorm2d(C, **options)


def sequence(*modules):
    return nn.Sequential(*modules)


def module(order, **options):
    return ConvModule(C, C, 3, padding=1, order=order,
                      norm_cfg=dict(type='BN'), **options)


def same_modules(*pairs):
    """The same modules several times."""
    return sequence(*pairs, *pairs)


def shared_norm():
    norm = bn()
    return sequence(conv(), norm, conv(), norm)


def norm_after_more():
    """One normalisation, after a convolution and after an activation."""
    norm = bn()
    return sequence(conv(), norm, nn.ReLU(), norm)


def shared_conv():
    layer = conv()
    return sequence(layer, bn(), layer, bn())


def shared_weight():
    one, other = conv(), conv()
    other.weight = one.weight
    return sequence(one, bn(), other)


#: A network, and how many of its normalisations can be folded.
NETWORKS = {
    'conv bn': (lambda: sequence(conv(bias=False), bn(), nn.ReLU(True)), 1),
    'with a bias': (lambda: sequence(conv(), bn(eps=0.1)), 1),
    'not affine': (lambda: sequence(conv(), bn(affine=False)), 1),
    'depthwise': (lambda: sequence(conv(groups=C), bn()), 1),
    'reflected borders': (lambda: sequence(conv(padding_mode='reflect'), bn()), 1),
    'SyncBN': (lambda: sequence(conv(), nn.SyncBatchNorm(C)), 1),
    'ConvModule': (lambda: module(('conv', 'norm', 'act')), 1),
    'norm first': (lambda: module(('norm', 'conv', 'act')), 0),
    'norm last': (lambda: module(('conv', 'act', 'norm')), 0),
    'registered in another order': (lambda: Layers(
        lambda m, x: m.bn_b(m.a(m.bn_a(m.b(x)))),
        a=conv(), bn_a=bn(), b=conv(), bn_b=bn()), 2),
    'something between': (lambda: sequence(conv(), nn.ReLU(), bn()), 0),
    'a view between': (lambda: Layers(
        lambda m, x: m.b(m.a(x).flip(3)), a=conv(), b=bn()), 0),
    'GN': (lambda: sequence(conv(), nn.GroupNorm(2, C)), 0),
    'InstanceNorm': (lambda: sequence(
        conv(), nn.InstanceNorm2d(C, affine=True, track_running_stats=True)), 0),
    'LayerNorm2d': (lambda: sequence(conv(), LayerNorm2d(C)), 0),
    'statistics of the batch': (
        lambda: sequence(conv(), bn(track_running_stats=False)), 0),
    'output used twice': (lambda: Layers(
        lambda m, x: (y := m.a(x)) + m.b(y), a=conv(), b=bn()), 0),
    'output returned': (lambda: Layers(
        lambda m, x: (y := m.a(x), m.b(y)), a=conv(), b=bn()), 0),
    'both run twice': (lambda: same_modules(conv(), bn()), 1),
    'shared norm': (shared_norm, 0),
    'norm after something else, too': (norm_after_more, 0),
    'shared conv': (shared_conv, 0),
    'shared weight': (shared_weight, 0),
    'conv without norm, too': (lambda: Layers(
        lambda m, x: m.b(m.a(x)) + m.a(x), a=conv(), b=bn()), 0),
    'parametrised': (lambda: sequence(weight_norm(conv()), bn()), 0),
    'standardised': (lambda: module(
        ('conv', 'norm', 'act'), conv_cfg=dict(type='ConvWS')), 0),
    'transposed': (lambda: sequence(nn.ConvTranspose2d(C, C, 2), bn()), 0),
    'not run': (lambda: Layers(lambda m, x: m.a(x), a=conv(), b=conv(), c=bn()), 0),
}


def frozen(network):
    """With statistics as after a training."""
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
            layer.running_mean.normal_(0, 0.5)
            layer.running_var.uniform_(0.1, 3)
            if layer.affine:
                nn.init.uniform_(layer.weight, -1.5, 1.5)
                nn.init.normal_(layer.bias)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize('name', NETWORKS)
def test_what_is_folded_and_that_it_is_the_same(name):
    build, folded = NETWORKS[name]
    network = frozen(build())
    plain = copy.deepcopy(network)
    assert fold_batch_norm(network, lambda: network(IMAGE)) == folded
    left = sum(isinstance(each, _BatchNorm) for each in network.modules())
    before = sum(isinstance(each, _BatchNorm) for each in plain.modules())
    assert left == before - folded
    assert not any(each.requires_grad for each in network.parameters())
    for size in ((9, 8), (5, 7)):
        image = torch.randn(3, C, *size)
        torch.testing.assert_close(
            network(image), plain(image), rtol=1e-5, atol=1e-5)


def test_the_libraries_folding_would_not_do():
    """mmcv goes by the order of registration: why there is another."""
    build, _ = NETWORKS['registered in another order']
    network = frozen(build())
    wrong = fuse_conv_bn(copy.deepcopy(network))
    assert not torch.allclose(wrong(IMAGE), network(IMAGE), rtol=0.1)


def test_a_hook_at_a_folded_norm_still_sees_its_output():
    network = frozen(sequence(conv(), bn(), nn.ReLU()))
    seen = []
    expected = network[1](network[0](IMAGE))
    fold_batch_norm(network, lambda: network(IMAGE))
    network[1].register_forward_hook(lambda *args: seen.append(args[2]))
    network(IMAGE)
    torch.testing.assert_close(seen[0], expected, rtol=1e-5, atol=1e-5)


RESNET = dict(depth=18, base_channels=4)
FPN_IN = [4, 8, 16, 32]
MODELS_OF_LIBRARIES = {
    'mmdet': dict(
        type='FCOS', backbone=dict(type='ResNet', **RESNET),
        neck=dict(type='FPN', in_channels=FPN_IN, out_channels=8, num_outs=4,
                  norm_cfg=dict(type='BN')),
        bbox_head=dict(type='FCOSHead', num_classes=3, in_channels=8,
                       feat_channels=8, strides=[4, 8, 16, 32],
                       norm_cfg=dict(type='BN'))),
    'mmseg': dict(
        type='EncoderDecoder', backbone=dict(
            type='ResNetV1c', stem_channels=8, dilations=(1, 1, 2, 4),
            strides=(1, 2, 1, 1), norm_eval=True, **RESNET),
        decode_head=dict(
            type='UPerHead', in_channels=FPN_IN, in_index=[0, 1, 2, 3],
            channels=8, num_classes=3, norm_cfg=dict(type='SyncBN'))),
    'mmpretrain': dict(
        type='ImageClassifier', backbone=dict(type='MobileNetV2'),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=1280)),
}


@pytest.mark.parametrize('library', MODELS_OF_LIBRARIES)
@torch.no_grad()
def test_models_of_each_library(library):
    init_default_scope(library)
    model = frozen(MODELS.build(dict(
        MODELS_OF_LIBRARIES[library], _scope_=library)))
    adapter = adapt(model, 'teacher')
    paths = {name: level.path for name, level in adapter.levels.items()}
    images = torch.randn(2, 3, 64, 96)

    def run():
        output, stages = adapter.stages.run(images)
        return [stages, model(images, mode='tensor'),
                () if adapter.neck is None else adapter.neck(output)]

    before = run()
    norms = sum(isinstance(each, _BatchNorm) for each in model.modules())
    assert fold_batch_norm(model, run) == norms
    for one, other in zip(tensors(before), tensors(run()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * one.std())
    again = adapt(model, 'teacher')
    assert {name: level.path for name, level in again.levels.items()} == paths
