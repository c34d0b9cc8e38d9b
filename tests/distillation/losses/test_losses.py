"""What every loss has in common, and the known values of MSE and CWD."""

import math

import pytest
import torch

from mmrlkd.registry import LOSSES
from mmrlkd.structures import Boxes

LOSSES.import_from_location()
MEMBERS = sorted(LOSSES.module_dict)
CHANNELS = 6
#: Where the defaults would hide what is looked at.
CONFIGS = dict(
    # The random mask has tests of its own.
    MGDLoss=dict(ratio=0.),
    # Each part is as large as the others.
    FGDLoss=dict(foreground=1., background=1., attention=1., relation=1.))


@pytest.fixture(params=MEMBERS)
def loss(request):
    member = request.param
    built = LOSSES.build(
        dict(type=f'mmrlkd.{member}', **CONFIGS.get(member, {})))
    built.bind(CHANNELS)
    return built


def maps(batch=5, height=4, width=6):
    return (torch.randn(batch, CHANNELS, height, width),
            torch.randn(batch, CHANNELS, height, width))


def boxes(batch=5):
    """0, 1, 2, 0, 1, … boxes of images of 64 × 96 pixels."""
    two = torch.tensor([[20., 4., 30., 40.], [10., 30., 90., 60.]])
    return Boxes.of([two[:i % 3] for i in range(batch)], (64, 96), 'cpu')


def test_one_number_per_sample(loss):
    assert loss(*maps(), boxes()).shape == (5, )


def test_a_subset_gives_the_numbers_of_the_whole(loss):
    student, teacher = maps()
    index = torch.tensor([4, 0, 2])
    torch.testing.assert_close(
        loss(student[index], teacher[index], boxes().take(index)),
        loss(student, teacher, boxes())[index])


def test_different_maps_lose_something(loss):
    assert (loss(*maps(), boxes()) > 0).all()


@pytest.mark.parametrize(  # MGD's generation block changes the student's
    'loss', [name for name in MEMBERS if name != 'MGDLoss'], indirect=True)
def test_the_loss_of_equal_maps_is_0(loss):
    _, teacher = maps()
    torch.testing.assert_close(
        loss(teacher, teacher, boxes()), torch.zeros(5))


def test_gradient_reaches_the_student_only(loss):
    student, teacher = (m.requires_grad_() for m in maps())
    loss(student, teacher, boxes()).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum(dim=(1, 2, 3)).min() > 0


def test_gradient_equals_finite_differences(loss):
    for parameter in loss.parameters():  # also of blocks that begin as nothing
        torch.nn.init.normal_(parameter, std=0.3)
    student, teacher = (m.double() for m in maps(batch=3, height=3, width=4))
    extra = [boxes(3)] * loss.needs_boxes
    assert torch.autograd.gradcheck(
        lambda each: loss.double().distance(each, teacher, *extra),
        student.requires_grad_())


@pytest.mark.parametrize('size', [(1, 1), (1, 5), (7, 3)])
@pytest.mark.parametrize('teacher', [0., 0.3, 'random'])
@pytest.mark.parametrize('student', [0., 0.3, 'random'])
def test_finite_for_maps_of_any_size_and_constant_ones(
        loss, student, teacher, size):
    pair = [made if value == 'random' else torch.full_like(made, value)
            for made, value in zip(
                maps(3, *size), (student, teacher), strict=True)]
    pair[0].requires_grad_()
    value = loss(*pair, boxes(3))
    value.sum().backward()
    assert (value >= 0).all() and value.isfinite().all()
    # Not the 1e6 of a division by next to nothing.
    assert pair[0].grad.abs().max() < 1e3


def test_half_precision_maps_are_compared_in_single(loss):
    student, teacher = (m.bfloat16() for m in maps())
    expected = loss(student.float(), teacher.float(), boxes())
    assert expected.dtype == torch.float32
    assert torch.equal(loss(student, teacher, boxes()), expected)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(loss(student, teacher, boxes()), expected)


def test_widths_must_agree_where_channels_are_compared(loss):
    student, teacher = maps()
    if loss.compares_channels:
        with pytest.raises(ValueError, match='have 4 and 6; accepted: a conn'):
            loss(student[:, :4], teacher, boxes())
    else:
        assert loss(student[:, :4], teacher, boxes()).shape == (5, )


def test_boxes_must_be_there_where_they_are_needed(loss):
    if loss.needs_boxes:
        with pytest.raises(ValueError, match='needs the boxes of the objects'):
            loss(*maps())
    else:
        assert torch.equal(loss(*(pair := maps())), loss(*pair, boxes()))


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
    with pytest.raises(ValueError, match='CWDLoss: tau=0; accepted: a number > 0'):
        LOSSES.build(dict(type='mmrlkd.CWDLoss', tau=0))
