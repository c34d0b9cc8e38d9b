"""Which residual blocks training drops, and what is computed instead."""

import pytest
import torch
from torch import nn

from mmrlkd.dynamic.drop_blocks import StochasticDepth
from mmrlkd.dynamic.residual import keeps_shape, residual_stages


def resnet(library, depth=18, **options):
    # Running statistics stand still, so that two runs can be compared.
    options = dict(depth=depth, base_channels=4, stem_channels=4,
                   out_indices=(0, 1, 2, 3), norm_eval=True,
                   style='pytorch', **options)
    if library == 'mmdet':
        from mmdet.models import ResNet
    elif library == 'mmseg':
        from mmseg.models import ResNet
    else:
        from mmpretrain.models import ResNet
    torch.manual_seed(0)
    backbone = ResNet(**options)
    backbone.train()  # applies norm_eval
    return backbone


@pytest.fixture(params=['mmdet', 'mmseg', 'mmpretrain'])
def backbone(request):
    return resnet(request.param)


def without(backbone, dropped, x):
    """The four maps of a ResNet-18, from its blocks one by one."""
    x = backbone.maxpool(backbone.relu(backbone.norm1(backbone.conv1(x))))
    maps = []
    for stage in residual_stages(backbone):
        for block in stage:
            x = x if block in dropped else block(x)
        maps.append(x)
    return maps


def test_dropped_blocks_are_the_identity(backbone):
    """Of the eight blocks, three change the shape."""
    depth = StochasticDepth(backbone, 0.8)
    assert depth.rates == pytest.approx((0.1, 0.2, 0.4, 0.6, 0.8))
    blocks = [b for stage in residual_stages(backbone) for b in stage
              if keeps_shape(b)]
    x = torch.rand(2, 3, 64, 64)
    whole, keys = without(backbone, [], x), list(backbone.state_dict())
    with depth.drop([0.1, 0.1, 0.5, 0.59, 0.9]):  # below its rate: 2nd and 4th
        some = backbone(x)
        assert list(backbone.state_dict()) == keys
        # Evaluated in the middle of an iteration, the network is whole.
        backbone.eval()
        evaluated = backbone(x)
        backbone.train()
    for mine, expected in zip(some, without(backbone, [blocks[1], blocks[3]], x)):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0)
    for mine, expected in zip(backbone(x), whole):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0)
    backbone.eval()
    for mine, expected in zip(evaluated, backbone(x)):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0)


def test_a_bottlenecks_first_block_changes_the_shape():
    stages = residual_stages(resnet('mmdet', 50))
    assert [len(stage) for stage in stages] == [3, 4, 6, 3]
    assert all([keeps_shape(b) for b in stage] == [False] + [True] * (len(stage) - 1)
               for stage in stages)


def test_what_is_dropped_has_no_gradient():
    backbone = resnet('mmdet')
    with StochasticDepth(backbone, 0.5).drop([1, 1, 1, 1, 0]):
        sum(x.sum() for x in backbone(torch.rand(2, 3, 64, 64))).backward()
    last = residual_stages(backbone)[-1][-1]
    assert all(p.grad is None for p in last.parameters())
    assert all(p.grad is not None for name, p in backbone.named_parameters()
               if not name.startswith('layer4.1'))


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match=(
            "StochasticDepth: backbone='Conv2d'; accepted: a ResNet of")):
        StochasticDepth(nn.Conv2d(3, 3, 1), 0.5)
    with pytest.raises(ValueError, match=r'rate=1; accepted: a number in \[0, 1\)'):
        StochasticDepth(resnet('mmdet'), 1)
