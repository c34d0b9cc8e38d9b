"""Where a backbone shows its stages."""

import pytest
import torch
from torch import nn

from mmrlkd.distillation.features.maps import as_maps, number_levels
from mmrlkd.distillation.features.probing import Probe
from mmrlkd.distillation.features.stages import Stages

PROBE = Probe()


class Block(nn.Module):
    """Halves the resolution; width after it."""

    def __init__(self, inputs, outputs, stride=2):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)

    def forward(self, maps):
        return self.conv(maps)


class Classifying(nn.Module):
    """Puts out its last map alone: stem, then stages of one or two blocks."""

    def __init__(self):
        super().__init__()
        self.stem = Block(3, 4)
        self.layers = nn.ModuleList([
            Block(4, 5), Block(5, 6), Block(6, 6, stride=1), Block(6, 7)])
        self.tail = nn.Sequential(Block(7, 8), nn.Conv2d(8, 9, 1))

    def forward(self, images):
        maps = self.stem(images)
        for layer in self.layers:
            maps = layer(maps)
        return (self.tail(maps), )


class Several(Classifying):
    """Puts out all stages."""

    def forward(self, images):
        outputs = []
        maps = self.stem(images)
        for layer in self.layers:
            maps = layer(maps)
            outputs.append(maps)
        return [*outputs, self.tail(maps)]


class Tokens(nn.Module):
    """Windows of a hierarchical transformer: tokens and their size."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.block = Block(inputs, outputs)

    def forward(self, tokens, size):
        maps = self.block(tokens.transpose(1, 2).unflatten(2, size))
        return maps.flatten(2).transpose(1, 2), tuple(maps.shape[-2:])


class Transformer(nn.Module):

    def __init__(self, pooled=True):
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, 4)
        self.stages = nn.ModuleList([Tokens(4, 5), Tokens(5, 6)])

    def forward(self, images):
        maps = self.patches(images)
        tokens, size = maps.flatten(2).transpose(1, 2), tuple(maps.shape[-2:])
        for stage in self.stages:
            tokens, size = stage(tokens, size)
        return (tokens.mean(dim=1), )


def shapes(maps):
    return [tuple(each.shape[1:]) for each in maps]


def test_an_output_of_several_maps_is_the_stages():
    backbone = Several()
    stages = Stages(backbone, 'student', PROBE, search=True)
    images = torch.randn(2, 3, 64, 64)
    output, maps = stages.run(images)
    assert stages.inside == ()
    assert stages.modules() == [backbone]
    assert all(a is b for a, b in zip(output, maps, strict=True))


def test_stages_are_found_inside():
    backbone = Classifying()
    stages = Stages(backbone, 'student', PROBE, search=True)
    assert stages.inside == ('layers.0', 'layers.2', 'layers.3', 'tail')
    images = torch.randn(2, 3, 64, 64)
    output, maps = stages.run(images)
    assert shapes(maps) == [(5, 16, 16), (6, 8, 8), (7, 4, 4), (9, 2, 2)]
    assert torch.equal(maps[-1], output[0])
    torch.testing.assert_close(maps[0], backbone.layers[0](backbone.stem(images)))


def test_nothing_stays_hooked():
    backbone = Classifying()
    Stages(backbone, 'student', PROBE, search=True).run(torch.randn(1, 3, 64, 64))
    assert not any(m._forward_hooks for m in backbone.modules())


def test_stages_of_tokens():
    backbone = Transformer()
    stages = Stages(backbone, 'teacher', PROBE, search=True)
    output, maps = stages.run(torch.randn(2, 3, 64, 64))
    assert stages.inside == ('stages.0', 'stages.1')
    assert stages.numbers == (3, 4)
    assert shapes(maps) == [(5, 8, 8), (6, 4, 4)]
    torch.testing.assert_close(maps[-1].mean(dim=(2, 3)), output[0])


def test_probing_changes_no_statistics_and_no_mode():
    backbone = nn.Sequential(Classifying(), nn.Identity())
    backbone[0].layers[0].conv = nn.Sequential(
        nn.Conv2d(4, 5, 3, 2, 1), nn.BatchNorm2d(5))
    backbone[0].layers[1].eval()
    Stages(backbone[0], 'student', PROBE, search=True)
    assert backbone[0].layers[0].conv[1].num_batches_tracked == 0
    assert backbone[0].training and not backbone[0].layers[1].training


def test_with_a_neck_behind_it_only_the_output_counts():
    stages = Stages(Classifying(), 'student', PROBE, search=False)
    assert stages.inside == ()
    assert shapes(stages.run(torch.randn(1, 3, 64, 64))[1]) == [(9, 2, 2)]


@pytest.mark.parametrize('backbone', [
    nn.Sequential(nn.Flatten(), nn.Linear(3 * 256 * 256, 2)),
    nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.Flatten(2)),
], ids=['no maps', 'one resolution'])
def test_a_backbone_without_stages_is_refused(backbone):
    with pytest.raises(ValueError, match='student has a backbone .* without '
                       'stages.*accepted'):
        Stages(backbone, 'student', PROBE, search=True)


def test_maps_in_another_order_are_sorted():
    """… and of equal ones the first stays first."""

    class Shuffled(Several):

        def forward(self, images):
            maps = super().forward(images)
            return [maps[i] for i in (4, 1, 0, 2, 3)]

    stages = Stages(Shuffled(), 'teacher', PROBE, search=True)
    output, maps = stages.run(torch.randn(2, 3, 64, 64))
    assert [next(i for i, each in enumerate(output) if each is one)
            for one in maps] == [2, 1, 3, 4, 0]
    assert [id(one) for one in stages.read(0, output)] == [
        id(m) for m in maps]


def test_outputs_that_hold_feature_maps():
    maps = torch.zeros(2, 3, 4, 5)
    tokens = torch.arange(24.).view(1, 6, 4)
    assert shapes(as_maps(maps)) == [(3, 4, 5)]
    assert shapes(as_maps([maps, maps])) == [(3, 4, 5)] * 2
    (seen, ) = as_maps((tokens, (2, 3)))
    assert torch.equal(seen[0, :, 1, 2], tokens[0, 5])
    for other in (None, 'maps', tokens, (tokens, (2, 2)), [maps, tokens],
                  torch.zeros(2, 3), (), {'maps': maps}):
        assert as_maps(other) == ()


def test_an_activation_that_layers_share_ends_no_stage():

    class Shared(Several):

        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, images):
            maps = self.relu(self.stem(images))
            for layer in self.layers:
                maps = self.relu(layer(maps))
            return (self.tail(maps), )

    stages = Stages(Shared(), 'student', PROBE, search=True)
    assert stages.inside == ('layers.0', 'layers.2', 'layers.3', 'tail')


class Branches(nn.Module):
    """A trunk, a branch that runs after each of its stages, and a sum that
    writes over the first stage's map."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.ModuleList([Block(3, 4, 4), Block(4, 5), Block(5, 6)])
        self.side = nn.ModuleList([Block(5, 2, 1), Block(5, 3, 1)])

    def forward(self, images):
        first = self.trunk[0](images)
        second = self.trunk[1](first)
        second += self.side[0](second).sum() * self.side[1](second).mean()
        return (self.trunk[2](second).mean(dim=(2, 3)), )


def test_stages_are_those_of_the_trunk_among_branches():
    stages = Stages(Branches(), 'student', PROBE, search=True)
    assert stages.inside == ('trunk.0', 'trunk.1', 'trunk.2')
    assert stages.numbers == (2, 3, 4)


def test_a_map_that_a_later_layer_writes_over_is_read_before():
    backbone = Branches()
    images = torch.randn(2, 3, 64, 64)
    expected = backbone.trunk[1](backbone.trunk[0](images))
    _, maps = Stages(backbone, 'student', PROBE, search=True).run(images)
    torch.testing.assert_close(maps[1], expected)


class Hybrid(nn.Module):
    """A stem of several resolutions, then layers that show no maps."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(Block(3, 4, 4), Block(4, 4))
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(80)])

    def forward(self, images):
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return (tokens.mean(dim=1), )


def test_a_stem_before_layers_without_maps_is_no_stage():
    with pytest.raises(ValueError, match=r'student has a backbone .Hybrid. without '
                       r'stages: .* resolutions \(a stem aside\); accepted'):
        Stages(Hybrid(), 'student', PROBE, search=True)


@pytest.mark.parametrize(('strides', 'numbers'), [
    ((4, 8, 16, 32), [2, 3, 4, 5]),
    ((4, 8, 8, 8), [2, 3, 4, 5]),  # dilated
    ((8, 8, 16), [None, 3, 4]),  # branches
    ((8, 8, 32), [None, 3, 5]),
    ((4.27, 8.83, 18.3, 42.7), [2, 3, 4, 5]),  # unpadded
    ((1, 2, 4), [0, 1, 2]),
    ((14.2, ), [4]),
    ((8, 15.8, 30, 60, 100, 300), [3, 4, 5, 6, 7, 8]),  # SSD300
])
def test_a_levels_number_is_log2_of_its_stride(strides, numbers):
    assert number_levels(strides, 'student has a neck') == numbers


@pytest.mark.parametrize('strides', [(3, 6, 12), (6, 12), (48, 96)])
def test_a_stride_far_from_a_power_of_two_has_no_number(strides):
    with pytest.raises(ValueError, match=f'stride of {strides[0]} px, which is '
                       'not near a power of two.*accepted'):
        number_levels(strides, 'student has a neck')
