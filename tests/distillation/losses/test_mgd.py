"""Masked generative distillation: the mask, and what is generated."""

import pytest
import torch
from torch import nn

from mmrlkd.distillation.losses import MGDLoss


class Recorder(nn.Module):
    """Generates what it is given, and keeps it."""

    def forward(self, maps):
        self.maps = maps
        return maps


def test_golden_value_of_one_position():
    loss = MGDLoss(ratio=0.)
    loss.bind(1)
    first, _, second = loss.generation
    for layer, weight, bias in ((first, 2., -1.), (second, 0.5, 1.)):
        nn.init.constant_(layer.weight, weight)  # the padding meets the rest
        nn.init.constant_(layer.bias, bias)
    # 3 -> 2·3 − 1 = 5 -> 5/2 + 1 = 3.5, and −3 -> ReLU 0 -> 1.
    maps = torch.tensor([3., -3.]).view(2, 1, 1, 1)
    assert loss(maps, torch.ones(2, 1, 1, 1)).tolist() == [2.5**2, 0]


def test_the_mask_takes_whole_positions_of_each_sample_anew():
    loss = MGDLoss()
    loss.generation = seen = Recorder()
    value = loss(torch.ones(60, 3, 8, 8), torch.zeros(60, 3, 8, 8))
    kept = seen.maps
    assert set(kept.unique().tolist()) == {0., 1.}
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert len(kept.unique(dim=0)) == 60
    assert kept.mean().item() == pytest.approx(1 - 0.65, abs=0.03)
    torch.testing.assert_close(value, kept.mean(dim=(1, 2, 3)))
    first = kept.clone()
    loss(torch.ones(60, 3, 8, 8), torch.zeros(60, 3, 8, 8))
    assert not torch.equal(seen.maps, first)


def test_the_generation_block_is_trained():
    loss = MGDLoss()
    loss.bind(4)
    loss(torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)).sum().backward()
    assert [name for name, _ in loss.named_parameters()]
    for parameter in loss.parameters():
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize('ratio', [-0.1, 1.0, float('nan')])
def test_refuses_a_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match=r'MGDLoss: ratio=.*; accepted: a nu'):
        MGDLoss(ratio=ratio)


def test_a_loss_that_is_not_bound_is_refused():
    with pytest.raises(RuntimeError, match=r'accepted: bind\(channels\)'):
        MGDLoss()(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
