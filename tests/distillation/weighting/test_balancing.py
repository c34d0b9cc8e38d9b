"""Rows at the shared layer in, one ordinary backward pass out."""

import copy
import functools

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper

from mmrlkd.structures import Choice, Phase, Selection

W = 'neck.lateral_convs.3.conv'
RANDOM = dict(type='mmrlkd.RandomSelector', cost=3.0)


def optimizer_of(model, kind='OptimWrapper', **kwargs):
    return build_optim_wrapper(model, dict(
        type=kind, optimizer=dict(type='SGD', lr=1e-4), **kwargs))


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()
            if p.grad is not None}


@pytest.fixture
def stepped(monkeypatch, detection_batch):
    """Run a training step; its log, and the gradients before the step."""

    def run(model, optimizer=None, batch=None):
        optimizer = optimizer or optimizer_of(model)
        seen = {}
        step = optimizer.step

        def remember(**kwargs):
            seen.update(gradients_of(model))
            step(**kwargs)

        monkeypatch.setattr(optimizer, 'step', remember)
        log = model.train_step(
            copy.deepcopy(batch or detection_batch), optimizer)
        return log, seen

    return run


def fight(model, level):
    """Let a level pull against the others, which random students do not."""
    loss = model.distillation.links[level][0].loss
    distance = loss.distance
    loss.distance = lambda student, teacher: -3 * distance(student, teacher)


def weights_in(log, names=('P2', 'P3', 'P4', 'P5')):
    return torch.stack([log[f'balance.{name}'] for name in names])


BALANCERS = {
    'uniform': dict(type='mmrlkd.UniformBalancer'),
    'fixed': dict(type='mmrlkd.FixedBalancer',
                  weights=dict(P2=1, P3=2, P4=3, P5=10)),
    'GradNorm': dict(type='mmrlkd.GradNorm', lr=0.5),
    'EMA': dict(type='mmrlkd.EMABalancer'),
    'PCGrad': dict(type='mmrlkd.PCGrad'),
    'exact PCGrad': dict(type='mmrlkd.PCGrad', exact=True),
}


@pytest.mark.parametrize('selector', [
    dict(type='mmrlkd.UniformSelector'), RANDOM], ids=['all', 'per sample'])
@pytest.mark.parametrize('name', BALANCERS)
def test_the_gradient_is_that_of_the_plain_weighted_sum(
        build_distiller, detection_batch, stepped, name, selector):
    """… of losses whose weights are numbers, found by looking at the log."""
    balanced = build_distiller(balancer=BALANCERS[name], selector=selector)
    balanced.train()
    plain = build_distiller(selector=selector)
    if 'PCGrad' in name:
        for model in balanced, plain:
            fight(model, level=3)
    plain.load_state_dict(balanced.state_dict())
    plain.distillation.links.load_state_dict(
        balanced.distillation.links.state_dict())
    plain.train()
    torch.manual_seed(5)  # the same selection
    log, gradients = stepped(balanced)
    weights = weights_in(log)
    assert weights.equal(torch.ones(4)) == (name == 'uniform')

    data = plain.data_preprocessor(copy.deepcopy(detection_batch), True)
    kept = {}
    compare = plain.distillation.compare
    plain.distillation.compare = lambda *a, **k: kept.setdefault(
        'losses', compare(*a, **k))
    select = plain.distillation.select
    plain.distillation.select = lambda *a: kept.setdefault('choice', select(*a))
    torch.manual_seed(5)
    losses = plain.loss(**data)
    chosen = kept['choice'].selection
    terms = torch.stack(
        kept['losses'].terms(chosen.levels, chosen.weights))
    losses['loss_distill'] = (weights * terms).sum()
    plain.parse_losses(losses)[0].backward()
    expected = gradients_of(plain)
    assert gradients.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-4, atol=1e-6)


def test_rows_are_the_gradients_at_the_top_lateral(
        build_distiller, detection_batch, stepped):
    model = build_distiller(balancer=dict(
        type='mmrlkd.EMABalancer', report_every=1))
    assert model.balancing.layer == W
    model.train()
    log, _ = stepped(model)
    again = build_distiller()
    again.train()
    data = again.data_preprocessor(copy.deepcopy(detection_batch), True)
    losses = again.loss(**data)
    weight = again.student.get_submodule(W).weight
    task = again.parse_losses({
        k: v for k, v in losses.items() if k != 'loss_distill'})[0]
    (expected,) = torch.autograd.grad(task, weight, retain_graph=True)
    torch.testing.assert_close(log['gradient_norm.task'], expected.norm())
    (total,) = torch.autograd.grad(losses['loss_distill'], weight)
    norms = torch.stack([log[f'gradient_norm.P{i}'] for i in range(2, 6)])
    cosines = torch.stack([log[f'gradient_cosine.P{i}'] for i in range(2, 6)])
    torch.testing.assert_close(
        (norms * cosines).sum(), (total * expected).sum() / expected.norm(),
        rtol=1e-3, atol=1e-6)
    inverse = 1 / norms
    torch.testing.assert_close(weights_in(log), 4 * inverse / inverse.sum())


def test_the_report_comes_every_n_iterations(
        build_distiller, detection_batch):
    model = build_distiller(selector=dict(
        type='mmrlkd.FixedSelector', levels=['P3', 'P5']), balancer=dict(
            type='mmrlkd.UniformBalancer', report_every=3))
    model.train()
    optimizer = optimizer_of(model)
    logs = [model.train_step(copy.deepcopy(detection_batch), optimizer)
            for _ in range(5)]
    assert ['gradient_norm.task' in log for log in logs] == [1, 0, 0, 1, 0]
    assert {key for key in logs[3] if 'gradient_' in key} == {
        'gradient_norm.task', 'gradient_norm.P3', 'gradient_norm.P5',
        'gradient_cosine.P3', 'gradient_cosine.P5'}


def test_the_report_changes_nothing(build_distiller, detection_batch):
    ends = []
    for every in (0, 1):
        model = build_distiller(balancer=dict(
            type='mmrlkd.GradNorm', report_every=every))
        model.train()
        optimizer = optimizer_of(model)
        for _ in range(2):
            model.train_step(copy.deepcopy(detection_batch), optimizer)
        ends.append(model.state_dict())
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key


# -- levels that take no part ---------------------------------------------------


def test_what_is_not_selected_keeps_its_weight_and_is_not_computed(
        build_distiller, detection_batch):
    model = build_distiller(selector=dict(
        type='mmrlkd.FixedSelector', levels=['P3', 'P5']), balancer=dict(
            type='mmrlkd.GradNorm', lr=0.1))
    model.train()
    ran = []
    for i, conv in enumerate(model.distillation.teacher.model.neck.fpn_convs):
        conv.register_forward_hook(lambda *_, i=i: ran.append(i))
    optimizer = optimizer_of(model)
    for _ in range(3):
        log = model.train_step(copy.deepcopy(detection_batch), optimizer)
    assert ran == [1, 3] * 3
    weights = weights_in(log)
    assert weights[[0, 2]].tolist() == [1, 1]
    assert weights[1] != 1
    torch.testing.assert_close(weights.sum(), torch.tensor(4.0))


@pytest.mark.parametrize('kind, undoes', [
    ('EMABalancer', False), ('PCGrad', True)])
def test_how_many_images_select_a_level_is_the_selectors_decision(
        build_distiller, stepped, detection_batch, kind, undoes):
    """A stateful balancer gets each level as if all images had selected it."""
    seen = {}
    for share in 1.0, 0.25:
        model = build_distiller(balancer=dict(type=f'mmrlkd.{kind}'))
        model.train()
        select = model.distillation.select

        def scaled(*arguments, share=share, select=select):
            chosen = select(*arguments).selection
            factor = torch.tensor([share, 1, 1, 1])
            return Choice(Selection(chosen.levels, chosen.weights * factor))

        model.distillation.select = scaled
        weigh = model.balancing.balancer.weigh
        model.balancing.balancer.weigh = (
            lambda *a, share=share, weigh=weigh: (
                seen.setdefault(share, a), weigh(*a))[1])
        stepped(model)
    (rows, losses, _), (scaled_rows, scaled_losses, _) = seen.values()
    torch.testing.assert_close(losses, scaled_losses)
    factor = torch.tensor([0.25 if undoes else 1.0, 1, 1, 1])
    torch.testing.assert_close(rows * factor[:, None], scaled_rows)


def test_iterations_without_an_update_and_frozen_backbones_measure_no_gradients(
        build_distiller, detection_batch, monkeypatch):
    model = build_distiller(balancer=dict(
        type='mmrlkd.GradNorm', lr=0.1, report_every=1))
    model.train()
    optimizer = optimizer_of(model)
    calls = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, 'grad', lambda *a, **k: (
        calls.append(1), grad(*a, **k))[1])

    def step(phase, iteration):
        calls.clear()
        model.schedule.set(phase, iteration, 0.0)
        log = model.train_step(copy.deepcopy(detection_batch), optimizer)
        return len(calls), log

    rows, log = step(Phase('pretrain', 1.0), 0)
    assert rows == 5
    before = weights_in(log)
    policy = Phase('policy', 1.0, student_every=2, freeze_backbone=True)
    rows, log = step(policy, 0)
    assert rows == 0 and 'balance.P2' not in log
    rows, log = step(policy, 1)
    assert rows == 0 and weights_in(log).equal(before)
    rows, log = step(Phase('finetune', 1.0), 0)
    assert rows == 5 and not weights_in(log).equal(before)


# -- the task's loss, too ---------------------------------------------------------


def test_include_task_weighs_the_task_too(build_distiller, stepped):
    model = build_distiller(balancer=dict(
        type='mmrlkd.EMABalancer', include_task=True, report_every=1))
    plain = build_distiller()
    for each in model, plain:
        each.train()
    torch.manual_seed(0)
    log, gradients = stepped(model)
    names = ('P2', 'P3', 'P4', 'P5', 'task')
    weights = weights_in(log, names)
    torch.testing.assert_close(weights.sum(), torch.tensor(5.0))
    norms = torch.stack([log[f'gradient_norm.{name}'] for name in names])
    torch.testing.assert_close(
        weights * norms, (weights * norms).mean().expand(5))
    # The task's own losses are logged as they are …
    other, unweighted = stepped(plain)
    torch.testing.assert_close(log['loss_cls'], other['loss_cls'])
    # … and its gradient, which alone reaches the head, is weighed.
    key = 'student.bbox_head.retina_cls.weight'
    torch.testing.assert_close(
        gradients[key], weights[4] * unweighted[key], rtol=1e-4, atol=1e-7)


# -- numbers that are not finite, and mixed precision ----------------------------


def test_a_nan_changes_no_weight(build_distiller, detection_batch):
    model = build_distiller(balancer=dict(type='mmrlkd.EMABalancer'))
    model.train()
    optimizer = optimizer_of(model)
    model.train_step(copy.deepcopy(detection_batch), optimizer)
    before = copy.deepcopy(model.balancing.state_dict())
    poisoned = copy.deepcopy(detection_batch)
    poisoned['inputs'] = [
        torch.full(i.shape, float('nan')) for i in poisoned['inputs']]
    log = model.train_step(poisoned, optimizer)
    assert log['skipped_updates'] == log['balance.skipped'] == 1
    for key, value in model.balancing.balancer.state_dict().items():
        if key != 'skipped':
            assert torch.equal(value, before['balancer'][key]), key


@pytest.fixture
def amp_on_the_cpu(monkeypatch):
    """mmengine's wrapper for mixed precision, with torch's CPU grad scaler."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available',
                        lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler',
                        functools.partial(torch.amp.GradScaler, 'cpu'))
    monkeypatch.setattr(
        'mmengine.runner.amp.get_device', lambda: 'cpu')


def test_mixed_precision_differentiates_scaled_losses(
        build_distiller, detection_batch, amp_on_the_cpu, monkeypatch):
    """An inf in a scaled gradient: no weight moves, the scale falls, and
    training goes on."""
    model = build_distiller(balancer=dict(
        type='mmrlkd.EMABalancer', decay=0.0, report_every=1))
    model.train()
    optimizer = optimizer_of(
        model, 'AmpOptimWrapper', dtype='bfloat16',
        loss_scale=dict(init_scale=2.0**10))
    differentiated = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, 'grad', lambda loss, *a, **k: (
        differentiated.append(loss.detach()), grad(loss, *a, **k))[1])

    def step():
        differentiated.clear()
        return model.train_step(copy.deepcopy(detection_batch), optimizer)

    log = step()
    expected = 1024 * torch.stack(
        [log[f'distill.P{i}'] for i in range(2, 6)])
    torch.testing.assert_close(torch.stack(differentiated[:4]), expected)
    sound = weights_in(log)
    norms = torch.stack([log[f'gradient_norm.P{i}'] for i in range(2, 6)])
    torch.testing.assert_close(sound, (1 / norms) * 4 / (1 / norms).sum())

    conv = model.student.get_submodule('neck.fpn_convs.1.conv')
    hook = conv.weight.register_hook(lambda g: torch.full_like(g, torch.inf))
    inside = model.student.get_submodule(W).register_full_backward_hook(
        lambda module, given, taken: None)
    poison = conv.register_full_backward_pre_hook(
        lambda module, taken: (torch.full_like(taken[0], torch.inf), ))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    log = step()
    for handle in hook, inside, poison:
        handle.remove()
    assert log['balance.skipped'] == log['skipped_updates'] == 1
    assert weights_in(log).equal(sound)
    assert optimizer.loss_scaler.get_scale() == 512
    for key, value in before.items():
        assert torch.equal(value, model.state_dict()[key]), key

    log = step()
    assert log['balance.skipped'] == log['skipped_updates'] == 1
    assert not weights_in(log).equal(sound)


def test_accumulated_gradients_are_those_of_the_weighted_losses(
        build_distiller, detection_batch, stepped):
    """Two balanced iterations before one step, against each by itself."""
    halves = [{key: value[i:i + 2] for key, value in detection_batch.items()}
              for i in (0, 2)]
    balancer = dict(type='mmrlkd.GradNorm', lr=0.5)
    model = build_distiller(balancer=balancer)
    model.train()
    optimizer = optimizer_of(
        model, accumulative_counts=2, clip_grad=dict(max_norm=1e9))
    logs, summed = [], {}
    for half in halves:
        log, gradients = stepped(model, optimizer, half)
        logs.append(log)
        summed = gradients or summed
    assert not weights_in(logs[0]).equal(weights_in(logs[1]))

    alone = build_distiller(balancer=balancer)
    alone.train()
    expected: dict = {}
    for half in halves:
        frozen = optimizer_of(alone)
        frozen.param_groups[0]['lr'] = 0.0
        log, gradients = stepped(alone, frozen, half)
        for key, value in gradients.items():
            expected[key] = expected.get(key, 0) + value / 2
    for key, value in expected.items():
        torch.testing.assert_close(summed[key], value, rtol=1e-4, atol=1e-6)


# -- finding W, and saying what does not fit --------------------------------------


def test_w_is_the_last_layer_that_all_levels_reach(
        build_distiller, tiny_student, tiny_teacher_model):
    balancer = dict(type='mmrlkd.GradNorm')
    for levels, layer in (
        (('P2', 'P3', 'P4', 'P5'), W), (('P3', 'P4'), W),
        (('P4', ), 'neck.fpn_convs.2.conv'),
        (('C2', 'C3', 'C4', 'C5'), 'backbone.layer1.1.conv2'),
        (('C3', 'P4', 'P5'), 'backbone.layer2.1.conv2'),
    ):
        model = build_distiller(
            levels=levels, balancer=balancer, costs='pixels')
        assert model.balancing.layer == layer, levels
    tiny_student.backbone.frozen_stages = 4
    assert build_distiller(balancer=balancer).balancing.layer == W
    for model in tiny_student, tiny_teacher_model:
        model.neck.type = 'PAFPN'
    model = build_distiller(balancer=balancer, teacher=dict(
        config=tiny_teacher_model, checkpoint=None))
    assert model.balancing.layer == 'neck.fpn_convs.0.conv'


@pytest.mark.parametrize('balancer, sentence', [
    (dict(layer='neck.nothing'),
     r"layer='neck\.nothing' is no layer .* such as 'neck\.lateral_convs\.3"),
    (dict(layer='neck'), "layer='neck' is no layer"),
    (dict(layer='neck.lateral_convs.1.conv'),
     r'not reached by the loss of P4, P5; accepted: .* all of P2, P3, P4, P5'),
    (dict(layer='bbox_head.retina_cls'),
     r'not reached by the loss of P2, P3, P4, P5'),
    (dict(include_task='yes'), "include_task='yes'; accepted: True or False"),
    (dict(report_every=-1), 'report_every=-1; accepted: an integer >= 0'),
    (dict(type='mmrlkd.PCGrad', exact=True, layer=W),
     'uses all parameters; accepted: a layer or exact=True, not both'),
    (dict(type='mmrlkd.FixedBalancer', weights=dict(P2=1)),
     r"names \['P2'\]; accepted: one number for each"),
])
def test_a_balancer_that_does_not_fit_is_refused(build_distiller, balancer, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_distiller(balancer={'type': 'mmrlkd.GradNorm', **balancer})


def test_a_frozen_layer_is_refused(build_distiller, tiny_student):
    tiny_student.backbone.frozen_stages = 2
    for balancer, sentence in (
        (dict(layer='backbone.layer1.1.conv2'),
         r"layer='backbone\.layer1\.1\.conv2' is frozen; accepted: .*but these"),
        ({}, r'reached by the losses of all of C3, C4, C5 \(none at all by: '
         r'C3\); accepted: .* leave out one of model\.levels'),
    ):
        with pytest.raises(ValueError, match=sentence):
            build_distiller(
                levels=('C3', 'C4', 'C5'), costs='pixels',
                balancer={'type': 'mmrlkd.GradNorm', **balancer})


def test_an_extra_level_that_bypasses_the_lateral_is_named(
        build_distiller, tiny_student, tiny_teacher_model):
    for model in tiny_student, tiny_teacher_model:
        model.neck.update(num_outs=5, add_extra_convs='on_input')
    settings = dict(
        levels=('P2', 'P3', 'P4', 'P5', 'P6'),
        teacher=dict(config=tiny_teacher_model, checkpoint=None))
    with pytest.raises(ValueError, match=r'not reached by the loss of P6;'):
        build_distiller(
            balancer=dict(type='mmrlkd.GradNorm', layer=W), **settings)
    # Left to itself it takes what all five do share: the last stage.
    model = build_distiller(
        balancer=dict(type='mmrlkd.GradNorm'), **settings)
    assert model.balancing.layer.startswith('backbone.layer4')


def test_one_balancer_for_a_student_that_is_distilled(build_distiller):
    balancer = dict(type='mmrlkd.GradNorm')
    with pytest.raises(ValueError, match='NoneSelector distils nothing that'):
        build_distiller(teacher=None, balancer=balancer,
                        selector=dict(type='mmrlkd.NoneSelector'))
    with pytest.raises(ValueError, match='beside the GradNorm that there is'):
        build_distiller(balancer=balancer).balance(balancer)
    state = build_distiller().run_state()
    with pytest.raises(ValueError, match='the run to be resumed had none'):
        build_distiller(balancer=balancer).load_run_state(state)


def test_the_balancer_is_not_in_the_students_state_dict(build_distiller):
    plain = build_distiller()
    model = build_distiller(balancer=dict(type='mmrlkd.EMABalancer'))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [n for n, _ in model.named_buffers()] == [
        n for n, _ in plain.named_buffers()]
    model.double()
    assert model.balancing.balancer.weights.dtype == torch.float64
    copied = copy.deepcopy(model)
    assert copied._balancing._shared[0] is copied.student.get_submodule(W)
