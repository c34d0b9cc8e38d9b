"""Every loss of the family distils a detector, of selected levels too."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmrlkd.registry import LOSSES

LOSSES.import_from_location()
RANDOM = dict(type='mmrlkd.RandomSelector', cost=3.0)


@pytest.fixture(params=sorted(LOSSES.module_dict))
def loss(request):
    return dict(type=f'mmrlkd.{request.param}')


def step(model, data):
    optimizer = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)))
    return model.train().train_step(copy.deepcopy(data), optimizer)


@pytest.mark.parametrize('selector', [
    dict(type='mmrlkd.UniformSelector'), RANDOM], ids=['all', 'some'])
def test_a_step_moves_the_student_and_the_losss_own_modules(
        build_distiller, detection_batch, loss, selector):
    model = build_distiller(loss=loss, selector=selector, costs='nominal')
    before = copy.deepcopy(dict(model.named_parameters()))
    scalars = step(model, detection_batch)
    assert torch.isfinite(scalars['loss']) and scalars['skipped_updates'] == 0
    assert scalars['loss_distill'] > 0
    assert any(not torch.equal(before[name], value)
               for name, value in model.student.named_parameters(
                   prefix='student'))
    own = [name for name in before if 'links' in name]
    if selector['type'] == 'mmrlkd.UniformSelector':
        still = [name for name, value in model.named_parameters()
                 if name in own and torch.equal(before[name], value)]
        # The last layer of a GcBlock begins at zero: what lies before it
        # moves from the second step on.
        assert all('block' in name for name in still), still


def test_the_losss_own_modules_are_resumed(build_distiller, detection_batch, loss):
    model = build_distiller(loss=loss)
    step(model, detection_batch)
    other = build_distiller(loss=loss)
    other.load_state_dict(model.state_dict())
    other.load_run_state(copy.deepcopy(model.run_state()))
    torch.manual_seed(0)
    first = step(model, detection_batch)
    torch.manual_seed(0)
    second = step(other, detection_batch)
    for key in ('loss', 'loss_distill'):
        assert torch.equal(first[key], second[key]), key


def test_boxes_that_nobody_gave(build_distiller, detection_batch):
    model = build_distiller(
        loss=dict(type='mmrlkd.FGDLoss'),
        selector=dict(type='mmrlkd.GreedySelector'))
    data = model.data_preprocessor(copy.deepcopy(detection_batch), False)
    assert model.choose(data['inputs'], data['data_samples']).levels.any()
    for sample in data['data_samples']:
        del sample.gt_instances
    with pytest.raises(ValueError, match='needs the boxes of the objects'):
        model.choose(data['inputs'], data['data_samples'])
