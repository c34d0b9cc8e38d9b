"""Policies: the same step acts and learns."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.distillation.selection.policies import LSTMPolicy, StateEncoder
from mmrlkd.registry import POLICIES
from mmrlkd.structures import LevelSpace

ALL = ['LSTMPolicy', 'MLPPolicy', 'TokenPolicy']
CPU = torch.device('cpu')
DEFAULT = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                     (256, ) * 4, 512)


def space_of(levels, channels=7, deepest=11):
    return LevelSpace(
        tuple(f'P{i}' for i in range(levels)), (1., ) * levels, float(levels),
        tuple(channels + i for i in range(levels)), deepest,
        tuple(4. * 2**i for i in range(levels)))


def bound(name, space, horizon=4, **kwargs):
    policy = POLICIES.build(dict(type=f'mmrlkd.{name}', **kwargs))
    policy.bind(space, horizon)
    return policy


#: Widths that keep the tests fast.
SMALL = dict(
    LSTMPolicy=dict(hidden=16, global_dim=8, level_dim=4),
    MLPPolicy=dict(hidden=16, global_dim=8, level_dim=4),
    TokenPolicy=dict(hidden=16, width=8, cells=2))


def small(name, space, horizon=4):
    return bound(name, space, horizon, **SMALL[name])


class NoisyLosses:

    def compute(self, levels):
        return torch.rand(levels.shape) * levels


def scores(policy, states):
    """(T, B, L) logits and (T, B) values of whole episodes."""
    choice, values = policy.evaluate(states)
    return choice.logits, values


def episode(space, batch, horizon=4):
    """States (T, B, …) of random play."""
    process = DecisionProcess(
        space, torch.randn(batch, space.global_channels),
        torch.randn(batch, sum(space.level_channels)), NoisyLosses(), horizon)
    states = []
    for _ in range(horizon):
        states.append(process.state)
        process.step(torch.multinomial(
            process.state.action_mask.float(), 1)[:, 0])
    return torch.stack(states)


def test_state_has_1542_numbers():
    policy = bound('LSTMPolicy', DEFAULT)
    state = episode(DEFAULT, 3)[1]
    vector = policy.encoder.vector(state)
    assert vector.shape == (3, 1542)
    assert policy.encoder.width == 1542
    expected = torch.cat([
        state.global_feature, state.level_features, state.loss[:, None],
        state.selected.float(), state.budget_left[:, None]], dim=1)
    assert vector.equal(expected)


def test_what_else_is_known_has_a_path_of_its_own():
    """Added to the encoding of the same 1542 numbers."""
    encoder = bound('LSTMPolicy', replace(DEFAULT, context=3)).encoder
    state = episode(DEFAULT, 5)[1].replace(context=torch.randn(5, 3))
    assert encoder.width == 1542
    without = bound('LSTMPolicy', DEFAULT).encoder
    without.load_state_dict({
        key: value for key, value in encoder.state_dict().items()
        if not key.startswith('context.')})
    nothing = state.replace(context=torch.zeros(5, 0))
    assert encoder.vector(state).equal(without.vector(nothing))
    layer = encoder.context[0]
    torch.testing.assert_close(
        encoder(state) - without(nothing),
        (state.context @ layer.weight.T + layer.bias).relu())


@pytest.mark.parametrize('name', ALL)
def test_without_a_context_nothing_is_added(name):
    """Weights saved before there was one still fit, key by key."""
    without, with_ = (
        small(name, replace(space_of(4), context=context)).state_dict()
        for context in (0, 2))
    assert not any('context' in key for key in without)
    added = with_.keys() - without.keys()
    if name == 'TokenPolicy':  # one input more for each number
        assert not added
    else:
        assert added == {'encoder.context.0.weight', 'encoder.context.0.bias'}
        assert all(with_[key].shape == value.shape
                   for key, value in without.items())


@pytest.mark.parametrize('name', ALL)
def test_every_policy_looks_at_the_context(name):
    space = replace(space_of(4), context=2)
    policy = small(name, space)
    nn.init.orthogonal_((policy.shared.action[2] if name == 'TokenPolicy'
                         else policy.heads.action[2]).weight)
    states = episode(space_of(4), 5)
    logits = [scores(policy, states.replace(context=context))[0] for context in (
        torch.zeros(4, 5, 2), torch.eye(2)[0].expand(4, 5, 2))]
    assert ((logits[0] - logits[1]).abs().amax(-1) > 1e-4).all()


def test_other_widths_are_projected():
    encoder = StateEncoder(space_of(4), 4, 256, 512, 256)
    state = episode(space_of(4), 3)[0]
    assert encoder.vector(state).shape == (3, 1542)
    assert [p.in_features for p in encoder.level_projections] == [7, 8, 9, 10]
    assert encoder.global_projection.in_features == 11


def test_equal_widths_are_not():
    encoder = StateEncoder(DEFAULT, 4, 256, 512, 256)
    for module in encoder.global_projection, *encoder.level_projections:
        assert isinstance(module, nn.Identity)


def test_default_network():
    policy = bound('LSTMPolicy', DEFAULT)
    kinds = [type(layer) for layer in policy.encoder.layers]
    assert kinds == [nn.Linear, nn.ReLU, nn.LayerNorm, nn.Linear, nn.ReLU]
    assert policy.encoder.layers[0].weight.shape == (256, 1542)
    assert [cell.hidden_size for cell in policy.cells] == [256, 256]
    assert policy.heads.action[0].out_features == 128
    assert policy.heads.action[2].out_features == 4
    assert policy.heads.value[0].out_features == 128
    assert policy.heads.value[2].out_features == 1
    assert not any(isinstance(m, nn.Dropout) for m in policy.modules())


def test_initialisation():
    policy = bound('LSTMPolicy', DEFAULT)
    for layer, gain in ((policy.encoder.layers[3], 2**0.5),
                        (policy.heads.action[2], 0.01),
                        (policy.heads.value[2], 0.01)):
        weight = layer.weight
        product = weight @ weight.T
        torch.testing.assert_close(
            product, gain**2 * torch.eye(len(product)), rtol=0, atol=1e-5)
        assert (layer.bias == 0).all()
    for name, parameter in policy.cells.named_parameters():
        if 'bias' in name:
            assert (parameter == 0).all()
        else:
            torch.testing.assert_close(
                parameter.T @ parameter, torch.eye(256), rtol=0, atol=1e-4)


@pytest.mark.parametrize('levels', [1, 2, 4, 6])
@pytest.mark.parametrize('batch', [1, 7])
@pytest.mark.parametrize('name', ALL)
def test_shapes(name, batch, levels):
    space = space_of(levels)
    policy = small(name, space)
    states = episode(space, batch)
    logits, values = scores(policy, states)
    assert logits.shape == (4, batch, levels)
    assert values.shape == (4, batch)
    # Nearly uniform at first: the head's last layer starts near zero.
    assert logits.abs().max() < 0.5


@pytest.mark.parametrize('name', ALL)
def test_acting_and_evaluating_agree_to_the_last_bit(name):
    space = space_of(4)
    policy, states = small(name, space), episode(space, 5)
    memory = policy.initial(5, CPU)
    acted = []
    with torch.no_grad():
        for t in range(4):
            state = states[t]
            choice, value, memory = policy(state, memory)
            acted.append((choice.logits, value))
    logits, values = scores(policy, states)
    assert logits.equal(torch.stack([step[0] for step in acted]))
    assert values.equal(torch.stack([step[1] for step in acted]))


@pytest.mark.parametrize('name', ALL)
def test_mixed_precision_of_the_student_stays_outside(name):
    space = space_of(4)
    policy, states = small(name, space), episode(space, 5)
    expected = scores(policy, states)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = scores(policy, states)
    assert found[0].equal(expected[0])
    assert found[1].equal(expected[1])


@pytest.mark.parametrize('name', ALL)
def test_features_in_half_precision_are_accepted(name):
    space = space_of(4)
    states = episode(space, 5)
    states = states.replace(level_features=states.level_features.half(),
                            global_feature=states.global_feature.half())
    assert scores(small(name, space), states)[0].dtype == torch.float32


@pytest.mark.parametrize('name', ALL)
def test_images_do_not_see_each_other(name):
    """The LSTM's time is the episode's, not the batch."""
    space = space_of(4)
    policy, states = small(name, space), episode(space, 5)
    alone = states[:, 3:4]
    for batch, single in zip(
            scores(policy, states), scores(policy, alone), strict=True):
        torch.testing.assert_close(batch[:, 3:4], single)


@pytest.mark.parametrize('name', ALL)
def test_train_and_eval_mode_agree(name):
    space = space_of(4)
    policy, states = small(name, space), episode(space, 5)
    expected = scores(policy.train(), states)[0]
    assert scores(policy.eval(), states)[0].equal(expected)


@pytest.mark.parametrize(('name', 'remembers'), [
    ('LSTMPolicy', True), ('MLPPolicy', False), ('TokenPolicy', True)])
def test_who_remembers_the_first_step(name, remembers):
    space = space_of(4)
    policy, states = small(name, space), episode(space, 5)
    before = scores(policy, states)[0]
    states.global_feature[0] += 1
    after = scores(policy, states)[0]
    assert not after[0].equal(before[0])
    assert after[3].equal(before[3]) != remembers


@pytest.mark.parametrize('name', ALL)
def test_the_step_is_observed(name):
    space = space_of(4)
    policy, states = small(name, space), episode(space, 5)
    if name != 'TokenPolicy':  # its embedding starts at zero
        nn.init.normal_(policy.encoder.step.weight)
    state = states[0]
    memory = policy.initial(5, CPU)
    first = policy(state, memory)[1]
    last = policy(state.replace(step=state.step + 3), memory)[1]
    assert not first.equal(last)


@pytest.mark.parametrize('name', ALL)
def test_every_parameter_is_used(name):
    space = space_of(4)
    policy, states = small(name, space), episode(space, 5)
    logits, values = scores(policy, states)
    (logits.square().sum() + values.sum()).backward()
    for key, parameter in policy.named_parameters():
        assert parameter.grad is not None, key


def test_memory_has_the_lstms_layers():
    policy = LSTMPolicy(hidden=16, layers=3, global_dim=8, level_dim=4)
    policy.bind(space_of(4), 4)
    memory = policy.initial(5, CPU)
    assert [(h.shape, c.shape) for h, c in memory] == [((5, 16), (5, 16))] * 3
    assert small('MLPPolicy', space_of(4)).initial(5, CPU) == ()
