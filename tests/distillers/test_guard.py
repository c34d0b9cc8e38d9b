"""Statistics are protected wherever the model has moved."""

import torch
from torch import nn

from mmrlkd.distillers.guard import FiniteGuard


def test_statistics_of_a_moved_model_are_restored():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    guard = FiniteGuard(model, limit=3)
    model.double()  # as .cuda() does, this replaces the buffers
    guard.remember()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.full((2, 3, 4, 4), torch.nan, dtype=torch.float64))
    assert model[1].running_mean.isnan().any()
    guard.restore()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key

