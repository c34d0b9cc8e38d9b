"""What holds for every registered selector."""

import io
from dataclasses import replace

import pytest
import torch

from mmrlkd.distillation.selection import selectors  # noqa: F401  (registers the members)
from mmrlkd.registry import SELECTORS

SMALL = dict(type='mmrlkd.MLPPolicy', hidden=16, global_dim=5, level_dim=3)
#: Arguments of those that need some, given the levels' names and costs; what
#: follows a comma tells variants of one selector apart.
ARGUMENTS = {
    'FixedSelector': lambda space: dict(levels=space.names[-1:]),
    'RandomSelector': lambda space: dict(
        cost=(min(space.costs) + sum(space.costs)) / 2),
    'PolicySelector': lambda space: dict(
        policy=dict(type='mmrlkd.LSTMPolicy', hidden=16, global_dim=5,
                    level_dim=3), rollout_batches=2),
    # Half of the images are distilled everywhere, the others at one level.
    'GroupSelector': lambda space: dict(
        descriptor='objects', edges=[0.],
        rates=[[1.] * len(space), [.5] * (len(space) - 1) + [1.]]),
    'PolicySelector, worth': lambda space: dict(
        horizon=1, rollout_batches=1, policy=SMALL, context=['objects'],
        mean_cost=(min(space.costs) + sum(space.costs)) / 2,
        reward=dict(
            type='mmrlkd.WorthReward', signal='teacher_detections',
            level_values={name: 1 / (i + 1)
                          for i, name in enumerate(space.names)}),
        learner=dict(type='mmrlkd.ExpectedReward')),
    'ControlSelector': lambda space: dict(selector=dict(
        type='mmrlkd.PolicySelector', horizon=1, rollout_batches=2,
        policy=SMALL, learner=dict(type='mmrlkd.ExpectedReward'))),
    'ControlSelector, opposite': lambda space: dict(
        control='opposite', selector=dict(
            type='mmrlkd.PolicySelector', rollout_batches=2, policy=SMALL)),
    'GatedSelector': lambda space: dict(gate=SMALL),
}
REGISTERED = {
    name for name, member in SELECTORS.module_dict.items()
    if member.__module__.startswith('mmrlkd.distillation.selection.selectors')}
ALL = sorted(REGISTERED | ARGUMENTS.keys())
DETERMINISTIC = [name for name in ALL if name not in (
    'ControlSelector', 'GroupSelector', 'RandomSelector')]


@pytest.fixture(params=ALL)
def name(request):
    return request.param


@pytest.fixture
def make(build):

    def make(name, space):
        return build(name.partition(',')[0], space,
                     **ARGUMENTS.get(name, lambda _: {})(space))

    return make


def decisive(selector):
    """A fresh policy hardly prefers anything yet: let it."""
    for key, parameter in selector.named_parameters():
        if key.endswith('policy.heads.action.2.weight'):
            parameter.data *= 1000
    return selector


def test_the_family_is_complete():
    assert {
        'ControlSelector', 'DARTSSelector', 'FixedSelector', 'GDASSelector',
        'GatedSelector', 'GreedySelector', 'GroupSelector',
        'ManualDeepSelector', 'ManualShallowSelector', 'NoneSelector',
        'PolicySelector', 'RandomSelector', 'UniformSelector'} <= REGISTERED


@pytest.mark.parametrize('levels', [1, 2, 4, 6])
@pytest.mark.parametrize('batch', [1, 7])
@pytest.mark.parametrize('training', [True, False])
def test_selections_are_sound(
        name, make, make_space, start, training, batch, levels):
    space = make_space(levels)
    selector = make(name, space).train(training)
    found = selector.select(start(selector, torch.randn(batch, 5))).selection
    assert found.levels.dtype == torch.bool
    assert found.levels.shape == found.weights.shape == (batch, levels)
    assert (found.weights >= 0).all()
    assert (found.weights[~found.levels] == 0).all()
    assert (found.weights[found.levels] > 0).all()
    cost = (found.levels * torch.tensor(space.costs)).sum(-1)
    assert (cost <= space.budget + 1e-6).all()
    assert found.levels.any(-1).eq(selector.uses_teacher).all()
    torch.testing.assert_close(
        found.weights.sum(-1),
        torch.full((batch, ), float(selector.uses_teacher)))


@pytest.mark.parametrize('least', [0, 1])
@pytest.mark.parametrize('training', [True, False])
def test_without_normalising_no_level_weighs_more_for_what_is_left_out(
        name, make, make_space, start, training, least):
    """In the mean of the selected levels 1/L each, or less where a selector
    weighs levels by image."""
    space = replace(make_space(), normalize='none', min_levels=least)
    selector = make(name, space).train(training)
    found = selector.select(start(selector, torch.randn(50, 5))).selection
    assert (found.weights[~found.levels] == 0).all()
    if name != 'GatedSelector':
        assert (found.weights.sum(-1) <= found.levels.sum(-1) / 4 + 1e-6).all()
    if selector.uses_teacher and least:
        assert found.levels.any(-1).all()


@pytest.mark.parametrize('name', DETERMINISTIC)
def test_evaluation_is_deterministic(name, make, make_space, start):
    selector = make(name, make_space()).eval()
    features = torch.randn(7, 5)
    one, two = (selector.select(start(selector, features)).selection for _ in range(2))
    assert one.levels.equal(two.levels)
    assert one.weights.equal(two.weights)


def test_only_adaptive_selectors_look_at_the_image(
        name, make, make_space, start, make_losses, seed):
    selector = decisive(make(name, make_space())).train()
    drawn = []
    for features in torch.randn(2, 50, 5):
        losses = make_losses(torch.rand(50, 4))
        torch.manual_seed(seed)  # the same luck for both batches
        drawn.append(selector.select(
            start(selector, features, losses)).selection.weights)
    assert drawn[0].equal(drawn[1]) != selector.adaptive


def test_the_learning_half_of_the_interface_is_there(
        name, make, make_space, start, make_signals):
    selector = make(name, make_space()).train()
    choice = selector.select(start(selector, torch.randn(3, 5)))
    selector.observe(make_signals(torch.rand(3, 4)), choice)
    # None: never, or not enough yet.
    assert selector.learn() is None or selector.learns
    selector.set_progress(0.5)
    assert selector.needs_gradients is False


def test_state_survives_a_file_of_plain_tensors(name, make, make_space, start):
    space = make_space()
    one, two = decisive(make(name, space)), make(name, space)
    file = io.BytesIO()
    torch.save((one.run_state(), one.local_run_state()), file)
    file.seek(0)
    shared, local = torch.load(file, weights_only=True)
    two.load_run_state(shared)
    two.load_local_run_state(local)
    features = torch.randn(50, 5)
    for selector in one, two:
        selector.eval()
    torch.manual_seed(0)
    expected = one.select(start(one, features)).selection
    torch.manual_seed(0)
    found = two.select(start(two, features)).selection
    assert found.levels.equal(expected.levels)
    assert found.weights.equal(expected.weights)


def test_an_impossible_budget_is_an_error(name, make, make_space):
    with pytest.raises(ValueError, match='budget=0.25 .* at least 0.5'):
        make(name, make_space(budget=0.25))


def test_all_numbers_move_with_the_model(name, make, make_space):
    selector = make(name, make_space()).to('meta')
    for tensor in *selector.buffers(), *selector.parameters():
        assert tensor.device.type == 'meta'


def test_nothing_of_a_selector_hides_in_its_state_dict(name, make, make_space):
    """Constants of the levels are derived from the config, not saved."""
    keys = make(name, make_space()).state_dict()
    assert all(key.removeprefix('selector.').startswith(
        ('policy.', 'gate.', 'reward.', 'alpha')) for key in keys)
