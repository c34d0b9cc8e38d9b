"""Every loss, and the known values of each."""

import math

import pytest
import torch

from mmrlkd.registry import LOSSES

LOSSES.import_from_location()
MEMBERS = sorted(LOSSES.module_dict)


@pytest.fixture(params=MEMBERS)
def loss(request):
    return LOSSES.build(dict(type=f'mmrlkd.{request.param}'))


def maps(batch=5, channels=3, height=4, width=6, dtype=torch.float32):
    return (torch.randn(batch, channels, height, width, dtype=dtype),
            torch.randn(batch, channels, height, width, dtype=dtype))


def test_one_number_per_sample(loss):
    assert loss(*maps()).shape == (5, )


def test_a_subset_gives_the_numbers_of_the_whole(loss):
    student, teacher = maps()
    index = torch.tensor([3, 0])
    torch.testing.assert_close(
        loss(student[index], teacher[index]), loss(student, teacher)[index])


def test_equal_maps_lose_nothing_and_others_something(loss):
    student, teacher = maps()
    torch.testing.assert_close(loss(teacher, teacher), torch.zeros(5))
    assert (loss(student, teacher) > 0).all()


def test_gradient_reaches_the_student_only(loss):
    student, teacher = (m.requires_grad_() for m in maps())
    loss(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum(dim=(1, 2, 3)).min() > 0


def test_gradient_equals_finite_differences(loss):
    # The loss computes in float32, so compare one direction at a wide step.
    student, teacher = maps(batch=2)
    direction = torch.randn_like(student)
    leaf = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, teacher).sum(), leaf)
    step = 1e-2
    difference = (loss(student + step * direction, teacher) -
                  loss(student - step * direction, teacher)).sum() / (2 * step)
    torch.testing.assert_close(
        (gradient * direction).sum(), difference, rtol=2e-3, atol=1e-4)


def test_half_precision_maps_are_compared_in_single(loss):
    student, teacher = maps()
    value = loss(student.bfloat16(), teacher.bfloat16())
    assert value.dtype == torch.float32
    torch.testing.assert_close(
        value, loss(student.bfloat16().float(), teacher.bfloat16().float()))


def test_mse_golden_value():
    mse = LOSSES.build(dict(type='mmrlkd.MSELoss'))
    student = torch.tensor([[[[1., 2.], [3., 4.]]]])
    assert mse(student, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(7.5)


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_cwd_golden_value(tau):
    # One channel, two positions: KL of (p, 1 − p) from (q, 1 − q) by hand.
    cwd = LOSSES.build(dict(type='mmrlkd.CWDLoss', tau=tau))
    student, teacher = (torch.tensor([[[[a, 0.]]]]) for a in (1.0, 3.0))
    q, p = (1 / (1 + math.exp(-a / tau)) for a in (1.0, 3.0))
    expected = tau**2 * (p * math.log(p / q) +
                         (1 - p) * math.log((1 - p) / (1 - q)))
    assert cwd(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_cwd_ignores_a_channel_s_offset():
    cwd = LOSSES.build(dict(type='mmrlkd.CWDLoss'))
    student, teacher = maps()
    torch.testing.assert_close(
        cwd(student + 7, teacher), cwd(student, teacher), rtol=1e-4, atol=1e-5)


def test_cwd_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match=r'loss\.tau is 0'):
        LOSSES.build(dict(type='mmrlkd.CWDLoss', tau=0))
