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


@pytest.mark.parametrize('grad', [True, False])
@pytest.mark.parametrize('every', [1, 2])
def test_a_loss_outside_a_step_changes_nothing(
        build_distiller, detection_batch, grad, every):
    model = build_distiller(selector=POLICY).train()
    model.schedule.set(Phase('policy', 1.0, student_every=every), 0, 0.0)
    before = [each.clone() for each in tensors(model)]
    with torch.set_grad_enabled(grad):
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
