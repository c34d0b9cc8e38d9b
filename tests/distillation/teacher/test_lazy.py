"""A teacher that runs for some images of a batch, or whose head will run."""

import copy

import pytest
import torch

from mmrlkd.distillation import step
from mmrlkd.structures import Choice, Phase, Selection

IMAGES = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[{}, dict(channels_last=True, dtype='bfloat16')], ids=str)
def teacher(build_distiller, tiny_teacher, request):
    return build_distiller(teacher=dict(tiny_teacher, **request.param)).teacher


@pytest.fixture
def ran():
    """Sizes of the batches that parts of a teacher ran for."""
    def watch(module):
        sizes = []
        module.register_forward_hook(
            lambda module, inputs, output: sizes.append(len(inputs[0])))
        return sizes
    return watch


def begun(teacher, rows=None, head=False):
    pyramid = teacher.extract(IMAGES, head)
    pyramid.begin(rows)
    return pyramid


@pytest.mark.parametrize(('rows', 'backbone'), [
    ([1, 2, 5], [3]), ([4], [2]), ([0, 1, 2, 3, 4, 5], [6])])
def test_some_images_have_the_maps_that_they_have_among_all(
        teacher, ran, rows, backbone):
    rows = torch.tensor(rows)
    whole, sizes = begun(teacher), ran(teacher.model.backbone)
    part = begun(teacher, rows)
    assert sizes == backbone
    for level in range(4):
        for index in (rows, rows[-1:], rows.flip(0)):
            assert torch.equal(
                part.level(level, index), whole.level(level, index))
    assert part.computed == whole.computed
    # What has run is kept.
    part.begin(torch.tensor([0, 3]))
    assert sizes == backbone


def test_without_images_it_does_not_run(teacher, ran):
    sizes = ran(teacher.model.backbone)
    begun(teacher, torch.tensor([], dtype=torch.int64))
    assert sizes == []


def test_other_images_and_the_head_are_refused(teacher):
    pyramid = begun(teacher, torch.tensor([1, 2]))
    for ask in (lambda: pyramid.level(0), pyramid.score_logits,
                lambda: pyramid.level(0, torch.tensor([3]))):
        with pytest.raises((AssertionError, IndexError)):
            ask()


def test_a_level_is_computed_once_where_the_head_will_run(teacher, ran):
    index = torch.tensor([3, 1])
    plain = begun(teacher)
    expected = [plain.level(0, index), *plain.score_logits()]
    sizes = ran(teacher.model.neck.fpn_convs[0])
    pyramid = begun(teacher, head=True)
    own = [pyramid.level(0, index), *pyramid.score_logits()]
    assert sizes == [6] and pyramid.computed == plain.computed
    assert all(map(torch.equal, own, expected))


@pytest.mark.parametrize(('counts', 'size'), [
    ([2, 0, 1, 4], [3]), ([0, 0, 3, 0], [2]), ([0] * 4, []), ([1] * 4, [4])])
def test_a_step_without_some_images_is_the_same(
        build_distiller, detection_batch, monkeypatch, ran, counts, size):
    """Loss and gradients, to the last bit."""
    levels = torch.arange(4) < torch.tensor(counts)[:, None]
    steps = []
    for spared in (True, False):
        model = build_distiller(
            selector=dict(type='mmrlkd.RandomSelector'), min_levels=0).train()
        monkeypatch.setattr(model.selector, 'select', lambda process: Choice(
            Selection(levels, levels / 4)))
        sizes = ran(model.teacher.model.backbone)
        model.schedule.set(Phase('run', 1.0), 0, 0.0)
        plan = model.schedule.plan()
        assert step.may_leave_out(model, plan)
        with monkeypatch.context() as patched:
            if not spared:
                patched.setattr(step, 'may_leave_out', lambda model, plan: False)
            losses = model(**model.data_preprocessor(
                copy.deepcopy(detection_batch), True), mode='step', plan=plan).losses
        model.parse_losses(losses)[0].backward()
        assert sizes == (size if spared else [4])
        steps.append([losses['loss_distill'].detach(), *(
            each.grad for each in model.parameters() if each.grad is not None)])
    assert len(steps[0]) > 10
    assert all(map(torch.equal, *steps))


@pytest.mark.parametrize(('options', 'least', 'phase', 'expected'), [
    ({}, 0, {}, True),
    ({}, 0, dict(choose=False), False),
    ({}, 1, {}, False),
    (dict(stream=True), 0, {}, False),
])
def test_where_images_may_be_left_out(
        build_distiller, tiny_teacher, options, least, phase, expected):
    model = build_distiller(
        teacher=dict(tiny_teacher, **options), min_levels=least,
        selector=dict(type='mmrlkd.RandomSelector'))
    model.schedule.set(Phase('run', 1.0, **phase), 0, 0.0)
    assert step.may_leave_out(model, model.schedule.plan()) == expected


@pytest.mark.gpu
def test_on_a_gpu_maps_differ_by_rounding(build_distiller):
    teacher, rows = build_distiller().cuda().teacher, torch.tensor([1, 2, 5])
    whole, part = (teacher.extract(IMAGES.cuda()) for _ in range(2))
    part.begin(rows)
    for level in range(4):
        torch.testing.assert_close(
            part.level(level, rows.cuda()), whole.level(level, rows.cuda()),
            rtol=1e-3, atol=1e-4)
