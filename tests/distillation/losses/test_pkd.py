"""Distillation by correlation: known values."""

import numpy as np
import pytest
import torch

from mmrlkd.distillation.losses import PKDLoss


def value(student, teacher):
    """Of one-dimensional channels."""
    return PKDLoss()(*(torch.tensor(each).view(1, len(each), 1, -1)
                       for each in (student, teacher))).item()


@pytest.mark.parametrize(('student', 'expected'), [
    ([[5., 7., 9., 13.]], 0.),  # 2 t + 3
    ([[-1., -2., -3., -5.]], 2.),  # −t
    ([[4., 4., 4., 4.]], 0.5),
])
def test_golden_values_of_one_channel(student, expected):
    assert value(student, [[1., 2., 3., 5.]]) == pytest.approx(
        expected, abs=1e-5)


def test_a_constant_teacher_is_half_or_nothing_too():
    assert value([[1., 2.]], [[3., 3.]]) == pytest.approx(0.5, abs=1e-5)
    assert value([[8., 8.]], [[3., 3.]]) == 0


def test_the_loss_is_1_minus_the_correlation_of_each_samples_channels():
    student, teacher = torch.randn(2, 3, 4, 5, 6).unbind()
    expected = [
        np.mean([1 - np.corrcoef(s.flatten(), t.flatten())[0, 1]
                 for s, t in zip(one.numpy(), other.numpy(), strict=True)])
        for one, other in zip(student, teacher, strict=True)]
    torch.testing.assert_close(
        PKDLoss()(student, teacher).double(), torch.tensor(expected),
        rtol=1e-4, atol=1e-5)


def test_the_variance_is_the_biased_one():
    """With MMRazor's, ÷ (n − 1), the loss of n positions is (n − 1)/n as large."""
    student, teacher = torch.randn(2, 3, 4, 2, 3).unbind()

    def razor(maps):
        flat = maps.flatten(2)
        return (flat - flat.mean(2, keepdim=True)) / flat.std(2, keepdim=True)

    theirs = (razor(student) - razor(teacher)).square().mean(dim=(1, 2)) / 2
    torch.testing.assert_close(
        PKDLoss()(student, teacher), theirs * 6 / 5, rtol=1e-4, atol=1e-5)
