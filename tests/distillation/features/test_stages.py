"""Where a backbone shows its stages."""

import pytest
import torch
from torch import nn

from mmrlkd.distillation.features.stages import Stages, as_maps


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
    stages = Stages(backbone, 'student', look_inside=True)
    images = torch.randn(2, 3, 64, 64)
    output, maps = stages.run(images)
    assert stages.inside == ()
    assert stages.modules() == [backbone]
    assert all(a is b for a, b in zip(output, maps, strict=True))


def test_stages_are_found_inside():
    backbone = Classifying()
    stages = Stages(backbone, 'student', look_inside=True)
    assert stages.inside == ('layers.0', 'layers.2', 'layers.3', 'tail')
    images = torch.randn(2, 3, 64, 64)
    output, maps = stages.run(images)
    assert shapes(maps) == [(5, 16, 16), (6, 8, 8), (7, 4, 4), (9, 2, 2)]
    assert torch.equal(maps[-1], output[0])
    torch.testing.assert_close(maps[0], backbone.layers[0](backbone.stem(images)))


def test_nothing_stays_hooked():
    backbone = Classifying()
    Stages(backbone, 'student', look_inside=True).run(torch.randn(1, 3, 64, 64))
    assert not any(m._forward_hooks for m in backbone.modules())


def test_stages_of_tokens():
    backbone = Transformer()
    stages = Stages(backbone, 'teacher', look_inside=True)
    output, maps = stages.run(torch.randn(2, 3, 64, 64))
    assert stages.inside == ('patches', 'stages.0', 'stages.1')
    assert shapes(maps) == [(4, 16, 16), (5, 8, 8), (6, 4, 4)]
    torch.testing.assert_close(maps[-1].mean(dim=(2, 3)), output[0])


def test_probing_changes_no_statistics_and_no_mode():
    backbone = nn.Sequential(Classifying(), nn.Identity())
    backbone[0].layers[0].conv = nn.Sequential(
        nn.Conv2d(4, 5, 3, 2, 1), nn.BatchNorm2d(5))
    backbone[0].layers[1].eval()
    Stages(backbone[0], 'student', look_inside=True)
    assert backbone[0].layers[0].conv[1].num_batches_tracked == 0
    assert backbone[0].training and not backbone[0].layers[1].training


def test_with_a_neck_behind_it_only_the_output_counts():
    stages = Stages(Classifying(), 'student', look_inside=False)
    assert stages.inside == ()
    assert shapes(stages.run(torch.randn(1, 3, 64, 64))[1]) == [(9, 2, 2)]


@pytest.mark.parametrize('backbone', [
    nn.Sequential(nn.Flatten(), nn.Linear(3 * 256 * 256, 2)),
    nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.Flatten(2)),
], ids=['no maps', 'one resolution'])
def test_a_backbone_without_stages_is_refused(backbone):
    with pytest.raises(ValueError, match='student has a backbone .* without '
                       'stages.*accepted'):
        Stages(backbone, 'student', look_inside=True)


def test_maps_in_another_order_are_sorted():
    """… and of equal ones the first stays first."""

    class Shuffled(Several):

        def forward(self, images):
            maps = super().forward(images)
            return [maps[i] for i in (4, 1, 0, 2, 3)]

    stages = Stages(Shuffled(), 'teacher', look_inside=True)
    output, maps = stages.run(torch.randn(2, 3, 64, 64))
    assert [next(i for i, each in enumerate(output) if each is one)
            for one in maps] == [2, 1, 3, 4, 0]
    assert [id(one) for one in stages.read(output)] == [id(m) for m in maps]


def test_what_is_a_map():
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

    stages = Stages(Shared(), 'student', look_inside=True)
    assert stages.inside == ('layers.0', 'layers.2', 'layers.3', 'tail')


def test_a_model_of_another_image_size_is_refused():

    class Fixed(Several):

        def forward(self, images):
            assert images.shape[-1] == 224, 'only 224'
            return super().forward(images)

    with pytest.raises(ValueError, match='teacher .Fixed. cannot be run on an '
                       'image of 256 × 256 px, on the cpu .only 224.; accepted'):
        Stages(Fixed(), 'teacher', look_inside=True)
