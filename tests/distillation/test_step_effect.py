"""The effect of a level on the held-out loss, against explicit gradients."""

import copy
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from torch.func import functional_call

from mmrlkd.distillation import hypergradient
from mmrlkd.distillation.hypergradient import virtual_step
from mmrlkd.distillation.losses import LevelLoss, MSELoss
from mmrlkd.distillation.step_effect import StepEffect
from mmrlkd.registry import DATASETS


@pytest.fixture
def held_out_batch(detection_batch, scenes_dataset):
    dataset = DATASETS.build(scenes_dataset('train'))
    return pseudo_collate([dataset[i] for i in range(8, 11)])


@pytest.fixture
def setting(build_distiller, detection_batch, held_out_batch, monkeypatch):
    """A distiller in float64 amid an iteration of training, and its effect."""
    monkeypatch.setattr(  # it casts to float32
        LevelLoss, 'forward',
        lambda self, student, teacher, boxes: self.distance(student, teacher))
    distiller = build_distiller()
    distiller.init_weights()
    distiller.double().train()
    optimizer = build_optim_wrapper(distiller, dict(
        type='OptimWrapper', optimizer=dict(
            type='SGD', lr=0.05, momentum=0.9, weight_decay=0.01))).optimizer

    def preprocess(batch, training):
        data = distiller.data_preprocessor(copy.deepcopy(batch), training)
        data['inputs'] = data['inputs'].double()
        for sample in data['data_samples']:
            boxes = sample.gt_instances.bboxes
            sample.gt_instances.bboxes = getattr(
                boxes, 'tensor', boxes).double()
        return data

    for p in distiller.student.parameters():  # some momentum
        p.grad = 0.01 * torch.randn_like(p)
    optimizer.step()
    data = preprocess(detection_batch, True)
    weights = torch.rand(4, 4, dtype=torch.float64)
    with distiller.tap.recording():
        distiller.student(**data, mode='loss')
    losses = distiller.distillation.compare(
        distiller.tap.take().levels,
        distiller.teacher.extract(data["inputs"]), differentiable=True)
    effect = StepEffect(
        distiller.functional, losses, data['inputs'], data['data_samples'],
        weights, held_out_batch, preprocess, optimizer)
    return distiller, effect


def train_losses(distiller, effect):
    """Task loss and (L,) level losses of the training batch, with graph."""
    with distiller.tap.recording():
        task = distiller.student(effect.images, effect.samples, mode='loss')
    maps = distiller.tap.take().levels
    return distiller.parse_losses(task)[0], [
        effect.losses.compare(i, m) for i, m in enumerate(maps)]


def products(distiller, effect, parameters):
    """−⟨∇ℓ_i, ∇L_val⟩ by autograd, L_val at other parameters."""
    student = distiller.student
    own = dict(student.named_parameters())
    leaves = {name: value.detach().requires_grad_()
              for name, value in parameters.items()}
    data = effect.preprocess(effect.held_out, True)
    held_out = functional_call(
        student, leaves, (data['inputs'], data['data_samples']),
        dict(mode='loss'))
    vector = torch.autograd.grad(
        distiller.parse_losses(held_out)[0], list(leaves.values()),
        materialize_grads=True, allow_unused=True)
    _, per_level = train_losses(distiller, effect)
    expected = []
    for loss in per_level:
        gradient = torch.autograd.grad(
            loss.mean(), list(own.values()), retain_graph=True,
            materialize_grads=True, allow_unused=True)
        expected.append(-sum((g * v).sum() for g, v in zip(gradient, vector)))
    return torch.stack(expected)


def test_order_1_is_the_product_with_the_present_held_out_gradient(setting):
    distiller, effect = setting
    found = effect(1)
    expected = products(
        distiller, effect, dict(distiller.student.named_parameters()))
    assert len(found) == 4 and (expected.abs() > 1e-5).all()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_without_a_forward_derivative_it_is_a_difference(setting, monkeypatch):
    """… of a radius at which no sign flips and 1 % of the largest is right."""
    distiller, effect = setting
    expected = products(
        distiller, effect, dict(distiller.student.named_parameters()))
    conv1 = distiller.student.backbone.conv1
    monkeypatch.setattr(
        conv1, 'forward', lambda x, own=conv1.forward: Plain.apply(own(x)))
    differences = []
    monkeypatch.setattr(
        hypergradient, 'central_difference',
        lambda *args, own=hypergradient.central_difference:
        differences.append(1) or own(*args))
    found = effect(1)
    assert differences
    assert torch.equal(found.sign(), expected.sign())
    assert (found - expected).abs().max() < 0.01 * expected.abs().max()


class Plain(torch.autograd.Function):
    """The identity, as mmcv's operators are written: with no ``jvp``."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


def test_what_a_loss_draws_cancels(setting, monkeypatch):
    """… as the masks of MGD do."""
    _, effect = setting
    expected = effect(1)
    distance = MSELoss.distance
    monkeypatch.setattr(MSELoss, 'distance', lambda self, student, teacher: (
        distance(self, student, teacher)
        + torch.rand(len(student), dtype=student.dtype)))
    torch.testing.assert_close(effect(1), expected)


def test_order_2_is_the_product_with_the_held_out_gradient_after_the_step(setting):
    distiller, effect = setting
    found = effect(2)
    own = dict(distiller.student.named_parameters())
    task, per_level = train_losses(distiller, effect)
    total = task + sum((effect.weights[:, i] * loss).mean()
                       for i, loss in enumerate(per_level))
    gradients = torch.autograd.grad(
        total, list(own.values()), materialize_grads=True, allow_unused=True)
    moved = virtual_step(
        effect.optimizer, dict(zip(own.values(), gradients)))
    expected = products(distiller, effect, {
        name: moved[parameter] for name, parameter in own.items()})
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found, effect(1), rtol=0.05, atol=0)


def test_the_effect_equals_the_change_of_the_held_out_loss_by_a_step(setting):
    """L_val after a small step with the loss of one level less the step
    without it: the sign and size that the name promises."""
    distiller, effect = setting
    own = dict(distiller.student.named_parameters())
    data = effect.preprocess(effect.held_out, True)
    step = 1e-6

    def held_out_loss(parameters):
        losses = functional_call(
            distiller.student, parameters,
            (data['inputs'], data['data_samples']), dict(mode='loss'))
        return distiller.parse_losses(losses)[0].detach()

    _, per_level = train_losses(distiller, effect)
    before, found = held_out_loss(own), effect(1)
    for i, loss in enumerate(per_level):
        gradient = torch.autograd.grad(
            loss.mean(), list(own.values()), retain_graph=True,
            materialize_grads=True, allow_unused=True)
        after = held_out_loss({
            name: p.detach() - step * g
            for (name, p), g in zip(own.items(), gradient)})
        torch.testing.assert_close(
            (after - before) / step, found[i], rtol=0.02, atol=0)


@pytest.mark.parametrize('order', [1, 2])
def test_the_effect_changes_no_gradient_statistic_or_random_number(setting, order):
    distiller, effect = setting
    for p in distiller.student.parameters():
        p.grad = torch.ones_like(p)
    task, per_level = train_losses(distiller, effect)  # a graph waits
    distiller.student.backbone.layer4.eval()
    distiller.student.backbone.layer1.requires_grad_(False)
    modes = [m.training for m in distiller.modules()]
    before = copy.deepcopy(dict(distiller.student.state_dict()))
    momentum = copy.deepcopy(effect.optimizer.state_dict())
    teacher = distiller.distillation.teacher.state_dict()
    pointers = [p.data_ptr() for p in distiller.parameters()]
    streams = random.getstate(), np.random.get_state(), torch.get_rng_state()

    effect(order)

    assert random.getstate() == streams[0]
    assert np.array_equal(np.random.get_state()[1], streams[1][1])
    assert torch.equal(torch.get_rng_state(), streams[2])
    assert modes == [m.training for m in distiller.modules()]
    assert pointers == [p.data_ptr() for p in distiller.parameters()]
    for key, value in distiller.student.state_dict().items():
        assert torch.equal(value, before[key]), key
    for key, state in effect.optimizer.state_dict()['state'].items():
        for name, value in state.items():
            assert torch.equal(value, momentum['state'][key][name])
    assert all(torch.equal(p.grad, torch.ones_like(p))
               for p in distiller.student.parameters())
    assert all(p.grad is None for p in distiller.distillation.parameters())
    assert teacher.keys() == distiller.distillation.teacher.state_dict().keys()
    sum([loss.mean() for loss in per_level], task).backward()


@pytest.mark.parametrize('order, images', [(1, 3 + 4), (2, 3 + 2 * 4)])
def test_images_are_counted(setting, order, images):
    distiller, effect = setting
    effect(order)
    assert distiller.search_images == images


def test_a_frozen_backbone_has_no_share(setting):
    """What does not move with the step does not help either."""
    distiller, effect = setting
    distiller.student.backbone.requires_grad_(False)
    found = effect(1)
    own = {name: p for name, p in distiller.student.named_parameters()
           if p.requires_grad}
    data = effect.preprocess(effect.held_out, True)
    loss = distiller.parse_losses(
        distiller.student(**data, mode='loss'))[0]
    vector = torch.autograd.grad(loss, list(own.values()))
    _, per_level = train_losses(distiller, effect)
    for i, level in enumerate(per_level):
        gradient = torch.autograd.grad(
            level.mean(), list(own.values()), retain_graph=True,
            materialize_grads=True, allow_unused=True)
        expected = -sum((g * v).sum() for g, v in zip(gradient, vector))
        torch.testing.assert_close(found[i], expected, rtol=1e-9, atol=1e-12)


def test_mixed_precision_changes_nothing(
        build_distiller, detection_batch, held_out_batch):
    """The passes run in full precision; half would drown the differences."""
    found = []
    for amp in (False, True):
        distiller = build_distiller()
        torch.manual_seed(0)
        distiller.init_weights()
        distiller.train()
        data = distiller.data_preprocessor(copy.deepcopy(detection_batch), True)
        maps = [torch.zeros(4, 1)] * 4  # of the student; nobody looks at them
        teacher = distiller.teacher.extract(data["inputs"])
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            losses = distiller.distillation.compare(
                maps, teacher, differentiable=True)
            found.append(StepEffect(
                distiller.functional, losses, data['inputs'],
                data['data_samples'], torch.ones(4, 4),
                copy.deepcopy(held_out_batch), distiller.data_preprocessor,
                torch.optim.SGD(distiller.parameters(), lr=0.1))(2))
    assert torch.equal(*found)


def test_a_nan_comes_back_as_one(setting):
    distiller, effect = setting
    for image in effect.held_out['inputs']:
        image.data = torch.full(image.shape, float('nan'))
    assert effect(1).isnan().all()
