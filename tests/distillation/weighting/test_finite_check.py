"""Statistics are protected wherever the model has moved."""

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmrlkd.distillation.weighting.finite_check import FiniteCheck


def test_statistics_of_a_moved_model_are_restored():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    check = FiniteCheck(model, limit=3)
    model.double()  # as .cuda() does, this replaces the buffers
    before_pass = check.statistics()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.full((2, 3, 4, 4), torch.nan, dtype=torch.float64))
    assert model[1].running_mean.isnan().any()
    check.restore(before_pass)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_layers_that_came_later_and_are_not_torchs_are_protected():
    """As ``sync_bn='mmcv'`` brings them."""
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer('running_mean', torch.zeros(1))

        def forward(self, x):
            self.running_mean += x.mean()
            return x

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    check = FiniteCheck(model, limit=3)
    model[1] = Norm()
    before_pass = check.statistics()
    model(torch.full((2, 3, 4, 4), torch.nan))
    check.restore(before_pass)
    assert model[1].running_mean.tolist() == [0.0]


class Scaler:
    """A grad scaler that refuses its n-th step, as one does on overflow."""

    def __init__(self, refused):
        self.scale, self.steps, self.refused = 8.0, 0, refused

    def get_scale(self):
        return self.scale

    def step(self):
        if self.steps == self.refused:
            self.scale /= 2
        self.steps += 1


def test_a_step_the_grad_scaler_refuses_counts_as_skipped():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    wrapper.loss_scaler = Scaler(refused=1)
    wrapper.step = wrapper.loss_scaler.step
    check = FiniteCheck(model, limit=3)
    for skipped in (0, 1, 1):
        before_pass = check.statistics()
        before = model[1].running_mean.clone()
        check.update(wrapper, model(torch.randn(4, 2)).square().sum(), before_pass)
        assert check.skipped == skipped
        kept = torch.equal(before, model[1].running_mean)
        assert kept == (check.in_a_row == 1)
