"""A training step returns a loss; outside of one nothing changes."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmrlkd.structures import Phase

POLICY = dict(type='mmrlkd.PolicySelector', rollout_batches=1,
              learner=dict(type='mmrlkd.GRPO', group_size=2))


def tensors(model):
    return [*model.state_dict().values(), *model.buffers(),
            *model.parameters(), *model.selector.state_dict().values(),
            torch.get_rng_state()]


@pytest.mark.parametrize(('mode', 'grad'), [
    (torch.enable_grad, True), (torch.no_grad, False),
    (torch.inference_mode, False)])
@pytest.mark.parametrize('every', [1, 2])
def test_a_loss_outside_a_step_changes_nothing(
        build_distiller, detection_batch, mode, grad, every):
    model = build_distiller(selector=POLICY).train()
    model.schedule.set(Phase('policy', 1.0, student_every=every), 0, 0.0)
    before = [each.clone() for each in tensors(model)]
    with mode():
        losses = model(**model.data_preprocessor(
            copy.deepcopy(detection_batch), False), mode='loss')
    assert {'loss_cls', 'loss_bbox', 'loss_distill'} == set(losses)
    assert losses['loss_distill'].requires_grad == grad
    assert len(model.selector.storage) == 0 and model.selector.learning
    for old, new in zip(before, tensors(model), strict=True):
        assert torch.equal(old, new)


def test_a_loss_outside_a_step_is_the_one_that_the_step_minimises(
        build_distiller, detection_batch):
    """Also in a phase whose iterations do not update the student."""
    model = build_distiller(selector=dict(type='mmrlkd.UniformSelector')).train()
    batch = model.data_preprocessor(copy.deepcopy(detection_batch), True)
    with torch.no_grad():
        outside = model(**batch, mode='loss')
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)))
    inside = model.train_step(copy.deepcopy(detection_batch), optimizer)
    assert 'loss_distill' in outside
    for key, value in outside.items():
        value = sum(value) if isinstance(value, list) else value
        torch.testing.assert_close(value, inside[key], rtol=0, atol=0)

    model.schedule.set(Phase('policy', 1.0, student_every=2), 0, 0.0)
    with torch.no_grad():
        assert model(**batch, mode='loss').keys() == outside.keys()


def test_an_iteration_without_update_returns_a_loss(
        build_distiller, detection_batch):
    model = build_distiller(selector=POLICY).train()
    model.schedule.set(Phase('policy', 1.0, student_every=2), 0, 0.0)
    log = model.train_step(detection_batch, build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))))
    assert log['updates_student'] == 0 and torch.isfinite(log['loss'])


@pytest.mark.parametrize('selector', [
    dict(type='mmrlkd.GreedySelector'), POLICY], ids=['greedy', 'GRPO'])
def test_all_losses_are_computed_once_and_only_selected_levels_are_trained(
        build_distiller, detection_batch, selector):
    names = 'P2', 'P3', 'P4', 'P5'
    model = build_distiller(
        selector=selector, costs=dict(P2=4, P3=3, P4=2, P5=1), budget=1).train()
    computed, trained = [], set()
    for name, (link, ) in zip(names, model.distillation.links, strict=True):
        link.loss.register_forward_hook(
            lambda *_, name=name: computed.append(name))
        for weight in link.connector.parameters():
            weight.register_hook(lambda _, name=name: trained.add(name))
    model.schedule.set(Phase('policy', 1.0), 0, 0.0)
    output = model.run_step(model, detection_batch, build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))))
    assert output.selection.levels.tolist() == [[False] * 3 + [True]] * 4
    assert (output.level_losses > 0).all()
    assert sorted(computed) == list(names)
    assert trained == {'P5'}


# -- learning while all levels are distilled ------------------------------------

WARM_UP = Phase('pretrain', 1.0, choose=False, learn_every=2)


def optimizer_of(model):
    return build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)))


@pytest.mark.parametrize('learner', [
    'PPO', 'GRPO', 'REINFORCE', 'ExpectedReward'])
@pytest.mark.parametrize('control', [False, True])
def test_a_policy_learns_where_all_levels_are_distilled(
        build_distiller, detection_batch, learner, control):
    """From what it would have chosen; the student learns as from uniform."""
    selector = dict(
        type='mmrlkd.PolicySelector', rollout_batches=3,
        policy=dict(type='mmrlkd.LSTMPolicy', hidden=16),
        learner=dict(type=f'mmrlkd.{learner}'))
    model = build_distiller(selector=dict(
        type='mmrlkd.ControlSelector', selector=selector) if control
        else selector, budget=6.0).train()
    uniform = build_distiller().train()
    policy = model.selector.selector if control else model.selector
    before = copy.deepcopy(policy.policy.state_dict())
    optimizers = [optimizer_of(each) for each in (model, uniform)]
    stored = []
    for iteration in range(5):
        model.schedule.set(WARM_UP, iteration, 0.0)
        output, plain = (
            each.run_step(each, copy.deepcopy(detection_batch), optimizer)
            for each, optimizer in zip((model, uniform), optimizers))
        assert output.selection.levels.all()
        torch.testing.assert_close(
            output.selection.weights, torch.full((4, 4), 0.25))
        for key, value in plain.losses.items():
            torch.testing.assert_close(
                output.losses[key], value, rtol=1e-3, atol=1e-5)
        assert ('reward' in output.scalars) == (iteration % 2 == 0)
        assert ('policy.entropy' in output.scalars) == (iteration == 4)
        if iteration < 4:
            stored.append(len(policy.storage))
        if iteration == 0:
            check_stored(policy)
    assert stored == [1, 1, 2, 2] and len(policy.storage) == 0
    assert any(not value.equal(before[key])
               for key, value in policy.policy.state_dict().items())
    for key, value in uniform.state_dict().items():
        torch.testing.assert_close(
            model.state_dict()[key], value, rtol=1e-3, atol=1e-4)


def check_stored(policy):
    """What is kept is the policy's own episode, within its budget, or what
    every subset within it gains."""
    kept = policy.storage.gather(torch.device('cpu'))
    if policy.learner.needs == 'gains':
        assert kept.gain.shape == (4, len(policy.tree.outcomes))
        assert kept.gain.isfinite().all() and (kept.gain > 0).all()
        return
    assert kept.reward.isfinite().all()
    costs = policy._cost_shares[kept.action[-1]] * sum(policy.space.costs)
    assert costs.max() <= 6


def test_a_search_does_not_learn_where_all_levels_are_distilled(
        build_distiller):
    """The step that it measures is that of its own mixture."""
    model = build_distiller(selector=dict(type='mmrlkd.DARTSSelector'))
    model.schedule.set(WARM_UP, 0, 0.0)
    assert not model.schedule.plan().learn and not model.selector.learning
    model.schedule.set(Phase('search', 1.0), 0, 0.0)
    assert model.schedule.plan().learn and model.selector.learning


def test_a_warm_up_that_stands_still_shows_what_the_state_asks_for(
        build_distiller, detection_batch):
    """The student's head is run for a descriptor, though no loss wants it."""
    model = build_distiller(selector=dict(
        POLICY, context=['teacher_confidence', 'discrepancy'])).train()
    model.schedule.set(Phase(
        'pretrain', 1.0, choose=False, student_every=2), 0, 0.0)
    output = model.run_step(model, detection_batch, optimizer_of(model))
    assert output.scalars['updates_student'] == 0
    assert output.episode.observation.context.shape == (4, 8, 2)
