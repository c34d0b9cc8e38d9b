"""A lazy neck gives what the whole neck gives."""

import itertools

import pytest
import torch
from mmdet.models import FPN

from mmrlkd.distillation.teacher.necks import EagerNeck, LazyFPN

STAGES = [torch.randn(3, c, s, s) for c, s in ((4, 32), (6, 16), (8, 8), (8, 4))]

VARIANTS = [
    dict(num_outs=4),
    dict(num_outs=6),
    dict(num_outs=5, start_level=1, add_extra_convs='on_input'),
    dict(num_outs=6, start_level=1, add_extra_convs='on_lateral'),
    dict(num_outs=6, start_level=1, add_extra_convs='on_output',
         relu_before_extra_convs=True),
    dict(num_outs=3, end_level=2),
    dict(num_outs=4, norm_cfg=dict(type='GN', num_groups=2),
         act_cfg=dict(type='ReLU')),
    dict(num_outs=4, norm_cfg=dict(type='BN'), no_norm_on_lateral=True,
         upsample_cfg=dict(mode='bilinear', align_corners=False)),
    dict(num_outs=4, upsample_cfg=dict(scale_factor=2, mode='nearest')),
]


@pytest.fixture(params=VARIANTS, ids=str)
def fpn(request):
    neck = FPN([4, 6, 8, 8], 6, **request.param)
    neck.init_weights()
    return neck.eval()


@pytest.mark.parametrize('lazy', [LazyFPN, EagerNeck])
@torch.no_grad()
def test_every_level_for_all_and_for_some(fpn, lazy):
    whole = fpn(STAGES)
    index = torch.tensor([2, 0])
    for i, expected in enumerate(whole):
        torch.testing.assert_close(
            lazy(fpn, STAGES).output(i, None), expected)
        torch.testing.assert_close(
            lazy(fpn, STAGES).output(i, index), expected[index],
            rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_only_the_asked_convolutions_run():
    fpn = FPN([4, 6, 8, 8], 5, num_outs=4).eval()
    ran = []
    for kind in ('lateral_convs', 'fpn_convs'):
        for i, module in enumerate(getattr(fpn, kind)):
            module.register_forward_hook(
                lambda m, x, y, name=(kind, i): ran.append((name, len(x[0]))))
    lazy = LazyFPN(fpn, STAGES)
    lazy.output(2, torch.tensor([1]))
    # P4 needs the laterals of P4 and P5, and its own output convolution for
    # one sample.
    assert sorted(ran) == [(('fpn_convs', 2), 1), (('lateral_convs', 2), 3),
                           (('lateral_convs', 3), 3)]
    ran.clear()
    lazy.output(3, torch.tensor([0, 2]))
    assert ran == [(('fpn_convs', 3), 2)]


@torch.no_grad()
def test_order_of_requests_does_not_matter():
    fpn = FPN([4, 6, 8, 8], 5, num_outs=5).eval()
    whole = fpn(STAGES)
    for order in itertools.permutations(range(5), 3):
        lazy = LazyFPN(fpn, STAGES)
        for i in order:
            torch.testing.assert_close(lazy.output(i, None), whole[i])
