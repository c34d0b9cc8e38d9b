"""Every logit loss, and the known values of each."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from scipy.stats import pearsonr

from mmrlkd.registry import LOGIT_LOSSES

LOGIT_LOSSES.import_from_location()
MEMBERS = sorted(LOGIT_LOSSES.module_dict)


def build(name, **options):
    return LOGIT_LOSSES.build(dict(type=f'mmrlkd.{name}', **options))


@pytest.fixture(params=MEMBERS)
def loss(request):
    return build(request.param)


def rows(batch=7, classes=5, scale=3., **options):
    """Logits of student and teacher, and labels."""
    return (scale * torch.randn(batch, classes, **options),
            scale * torch.randn(batch, classes, **options),
            torch.arange(batch) % classes)


def maps(batch=2, classes=5, height=4, width=6):
    shape = (batch, classes, height, width)
    return (torch.randn(shape), torch.randn(shape),
            torch.randint(classes, (batch, height, width)))


def flat(logits):
    return logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1])


def inputs(loss, student, teacher, targets):
    """What ``loss.divergence`` takes."""
    return (student, teacher, targets)[:3 if loss.needs_targets else 2]


# -- the same of every loss --------------------------------------------------


@pytest.mark.parametrize('make', [rows, maps])
def test_equal_logits_lose_nothing_and_others_something(loss, make):
    student, teacher, targets = make()
    zero = loss(teacher, teacher, targets)
    assert (zero.shape, zero.dtype) == ((), torch.float32)
    assert zero.item() == pytest.approx(0, abs=1e-5)
    assert loss(student, teacher, targets).item() > 0.01


def test_gradient_equals_finite_differences(loss):
    student, teacher, targets = rows(dtype=torch.float64)
    leaf = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: loss.divergence(*inputs(loss, s, teacher, targets)), leaf)
    # … and in float32 it is the same, by way of the public call.
    exact, = torch.autograd.grad(
        loss.divergence(*inputs(loss, leaf, teacher, targets)), leaf)
    single = student.float().requires_grad_()
    loss(single, teacher.float(), targets).backward()
    torch.testing.assert_close(
        single.grad, exact.float(), rtol=1e-4, atol=1e-6)


def test_gradient_reaches_every_row_of_the_student_and_no_teacher(loss):
    student, teacher, targets = maps()
    student.requires_grad_()
    teacher.requires_grad_()
    loss(student, teacher, targets).backward()
    assert teacher.grad is None
    assert flat(student.grad).abs().sum(dim=1).min() > 0


def test_a_constant_added_to_a_row_changes_nothing(loss):
    student, teacher, targets = rows()
    offset = 5 * torch.randn(7, 1)
    torch.testing.assert_close(
        loss(student + offset, teacher - 2 * offset, targets),
        loss(student, teacher, targets), rtol=1e-4, atol=1e-5)


def test_pixels_are_rows(loss):
    student, teacher, targets = maps()
    torch.testing.assert_close(
        loss(student, teacher, targets),
        loss(flat(student), flat(teacher), targets.flatten()))


def test_order_of_the_rows_does_not_matter(loss):
    student, teacher, targets = rows()
    index = torch.randperm(7)
    torch.testing.assert_close(
        loss(student[index], teacher[index], targets[index]),
        loss(student, teacher, targets))


def test_a_finer_teacher_is_resized(loss):
    # At half the size, bilinear is the mean of each block of 2 × 2.
    student, _, targets = maps(height=4, width=6)
    _, teacher, _ = maps(height=8, width=12)
    torch.testing.assert_close(
        loss(student, teacher, targets),
        loss(student, F.avg_pool2d(teacher, 2), targets))


def test_a_coarser_teacher_is_resized(loss):
    student, _, targets = maps()
    teacher = torch.randn(2, 5, 1, 1)
    torch.testing.assert_close(
        loss(student, teacher, targets),
        loss(student, teacher.expand_as(student), targets))


def test_autocast_changes_nothing(loss):
    student, teacher, targets = maps()
    student, teacher = student.bfloat16(), teacher.bfloat16()
    expected = loss(student.float(), teacher.float(), targets)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(student, teacher, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_sure_models_have_finite_losses_and_gradients(loss):
    student, teacher, targets = rows(batch=50, scale=500.)
    student.requires_grad_()
    value = loss(student, teacher, targets)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_nothing_waits_for_the_device(loss):
    # A tensor without data cannot answer a question about its values.
    student, teacher, targets = (x.to('meta') for x in maps())
    student.requires_grad_()
    loss(student, teacher[..., :2], targets).backward()
    assert student.grad.shape == student.shape


def test_other_classes_are_refused(loss):
    student, teacher, targets = rows()
    with pytest.raises(ValueError, match='teacher has 4 classes; accepted: the 5'):
        loss(student, teacher[:, :4], targets)


def test_one_class_is_refused(loss):
    student, teacher, targets = rows(classes=1)
    with pytest.raises(ValueError, match='student has 1 class; accepted: 2'):
        loss(student, teacher, targets)


@pytest.mark.parametrize('name, key, value', [
    ('KLLoss', 'tau', 0), ('DKDLoss', 'tau', float('inf')),
    ('DKDLoss', 'alpha', -1), ('DKDLoss', 'beta', float('nan')),
    ('DISTLoss', 'tau', -1), ('DISTLoss', 'beta', -1), ('DISTLoss', 'gamma', -1),
])
def test_options_out_of_range_are_refused(name, key, value):
    with pytest.raises(
            ValueError, match=f'{name}: {key}={value}; accepted: a number >'):
        build(name, **{key: value})


# -- labels ------------------------------------------------------------------


@pytest.fixture(params=[
    name for name in MEMBERS
    if LOGIT_LOSSES.get(f'mmrlkd.{name}').needs_targets])
def labelled_loss(request):
    return build(request.param)


@pytest.mark.parametrize('name', ['KLLoss', 'DISTLoss'])
def test_labels_that_are_not_needed_are_not_looked_at(name):
    student, teacher, targets = rows()
    assert build(name)(student, teacher) == build(name)(student, teacher, targets)


def test_missing_labels_are_refused(labelled_loss):
    student, teacher, _ = rows()
    with pytest.raises(ValueError, match='needs labels'):
        labelled_loss(student, teacher)


@pytest.mark.parametrize('nothing', [-1, -100, 5, 255])
def test_rows_without_a_label_are_left_out(labelled_loss, nothing):
    student, teacher, targets = rows()
    student.requires_grad_()
    targets[[1, 4]] = nothing
    kept = torch.tensor([0, 2, 3, 5, 6])
    value = labelled_loss(student, teacher, targets)
    torch.testing.assert_close(
        value, labelled_loss(student[kept], teacher[kept], targets[kept]))
    value.backward()
    assert (student.grad[[1, 4]] == 0).all()
    assert (student.grad[kept] != 0).all()


def test_no_label_at_all_loses_nothing(labelled_loss):
    student, teacher, targets = rows()
    student.requires_grad_()
    value = labelled_loss(student, teacher, torch.full_like(targets, 255))
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()


def test_a_pixel_gets_the_label_nearest_to_its_centre(labelled_loss):
    student, teacher, targets = maps()
    finer = torch.full((2, 12, 18), 255)
    finer[:, 1::3, 1::3] = targets
    torch.testing.assert_close(
        labelled_loss(student, teacher, finer),
        labelled_loss(student, teacher, targets))


# -- KL ----------------------------------------------------------------------


@pytest.mark.parametrize('tau', [1., 4.])
def test_kl_golden_value(tau):
    student, teacher, _ = rows()
    expected = tau**2 * F.kl_div(
        F.log_softmax(student / tau, dim=1), F.softmax(teacher / tau, dim=1),
        reduction='batchmean')
    torch.testing.assert_close(build('KLLoss', tau=tau)(student, teacher), expected)


# -- DKD ---------------------------------------------------------------------


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q))


def dkd_of_the_paper(student, teacher, targets, alpha, beta, tau):
    losses = []
    for s, t, target in zip(student, teacher, targets):
        q, p = softmax(s / tau), softmax(t / tau)
        q_others, p_others = np.delete(q, target), np.delete(p, target)
        tckd = kl((p[target], p_others.sum()), (q[target], q_others.sum()))
        nckd = kl(p_others / p_others.sum(), q_others / q_others.sum())
        losses.append(alpha * tckd + beta * nckd)
    return tau**2 * np.mean(losses)


@pytest.mark.parametrize('scale', [1., 30.])  # 30: p_t rounds to 1 in float32
@pytest.mark.parametrize('options', [
    dict(alpha=1., beta=8., tau=4.), dict(alpha=2., beta=0., tau=1.),
    dict(alpha=0., beta=3., tau=1.)])
def test_dkd_golden_value(options, scale):
    student, teacher, targets = rows(scale=scale)
    expected = dkd_of_the_paper(
        student.double().numpy(), teacher.double().numpy(), targets.numpy(),
        **options)
    value = build('DKDLoss', **options)(student, teacher, targets)
    assert value.item() == pytest.approx(expected, rel=1e-4)


def test_kl_is_tckd_and_nckd_where_the_teacher_is_unsure():
    student, teacher, targets = rows(batch=1)
    unsure = 1 - F.softmax(teacher / 4, dim=1)[0, targets[0]]
    tckd = build('DKDLoss', alpha=1., beta=0.)(student, teacher, targets)
    nckd = build('DKDLoss', alpha=0., beta=1.)(student, teacher, targets)
    torch.testing.assert_close(
        build('KLLoss')(student, teacher), tckd + unsure * nckd)


# -- DIST --------------------------------------------------------------------


@pytest.mark.parametrize('offset', [0., -15.])  # -15: a class that none expects
@pytest.mark.parametrize('beta, gamma, tau', [
    (1., 1., 1.), (2., 0., 1.), (0., 3., 1.), (2., 3., 4.)])
def test_dist_golden_value(beta, gamma, tau, offset):
    student, teacher, _ = rows()
    student[:, 0] += offset
    teacher[:, 0] += offset
    q, p = (softmax(x.double().numpy() / tau, axis=1) for x in (student, teacher))
    inter = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p, q)])
    intra = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p.T, q.T)])
    dist = build('DISTLoss', beta=beta, gamma=gamma, tau=tau)
    assert dist(student, teacher).item() == pytest.approx(
        tau**2 * (beta * inter + gamma * intra), rel=1e-4)


def test_dist_does_not_ask_for_equal_probabilities():
    # Halfway between the teacher and 1/K: another distribution, correlation 1.
    _, teacher, _ = rows()
    student = (F.softmax(teacher, dim=1) / 2 + 0.1).log()
    assert build('DISTLoss')(student, teacher).item() == pytest.approx(0, abs=1e-5)
    assert build('KLLoss', tau=1.)(student, teacher).item() > 0.1


@pytest.mark.parametrize('who', ['student', 'teacher'])
def test_dist_of_constant_rows_and_classes(who):
    student, teacher, _ = rows()
    if who == 'student':
        student = torch.full_like(student, 0.3)
    else:
        teacher = torch.full_like(teacher, 0.3)
    student.requires_grad_()
    value = build('DISTLoss')(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(2)
    assert (student.grad == 0).all()


def test_dist_of_one_constant_row_trains_the_others():
    student, teacher, _ = rows()
    student[3] = 0.3
    student.requires_grad_()
    dist = build('DISTLoss', gamma=0.)
    dist(student, teacher).backward()
    assert (student.grad[3] == 0).all()
    others = torch.tensor([0, 1, 2, 4, 5, 6])
    assert (student.grad[others].abs().sum(dim=1) > 0).all()


def test_dist_of_one_row_has_no_relation_within_a_class():
    student, teacher, _ = rows(batch=1)
    dist, inter = build('DISTLoss'), build('DISTLoss', gamma=0.)
    torch.testing.assert_close(dist(student, teacher), inter(student, teacher) + 1)


def test_kl_of_sigmoids_is_that_of_a_coin_for_each_class():
    loss = build('KLLoss', tau=2.)
    loss.sigmoid = True
    student, teacher, _ = rows()
    p, q = (torch.sigmoid(each.double() / 2) for each in (teacher, student))
    coins = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(
        loss(student, teacher).double(), 4 * coins.sum(dim=1).mean(),
        rtol=1e-5, atol=1e-6)
    # One class is enough, and a logit far out is no NaN.
    far = torch.tensor([[200.]], requires_grad=True)
    loss(far, torch.tensor([[-200.]])).backward()
    assert far.grad.item() == pytest.approx(2.)
    # A softmax does not see what all logits share; coins do.
    assert loss(teacher + 3, teacher) > 0.1
