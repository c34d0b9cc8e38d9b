"""Attention transfer: known values."""

import math

import pytest
import torch

from mmrlkd.distillation.losses import ATLoss


def test_golden_value_of_maps_of_different_width():
    # Two positions; mean squares (3, 4) have length 5, (1, 0) have length 1.
    student = torch.tensor([[math.sqrt(3), 2.], [-math.sqrt(3), 2.]])
    teacher = torch.tensor([[1., 0.], [1., 0.], [-1., 0.]])
    value = ATLoss()(student.view(1, 2, 1, 2), teacher.view(1, 3, 1, 2))
    expected = ((0.6 - 1)**2 + (0.8 - 0)**2) / 2
    assert value.item() == pytest.approx(expected)


def test_ignores_scale_and_order_of_channels():
    student, teacher = torch.randn(2, 4, 5, 3, 4).unbind()
    torch.testing.assert_close(
        ATLoss()(7 * student.flip(1), teacher), ATLoss()(student, teacher))
