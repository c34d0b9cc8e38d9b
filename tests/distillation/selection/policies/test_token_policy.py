"""The token policy: its shared weights fit any pyramid."""

import pytest
import torch

from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.distillation.selection.policies import TokenPolicy
from mmrlkd.rl import play
from mmrlkd.structures import LevelSpace

PYRAMID = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                     (3, 5, 2, 4), 6, (4., 8., 16., 32.))
CLASSIFIER = LevelSpace(('C3', 'C5'), (3., 1.), 4., (7, 11), 9, (8., 32.))
SIX = LevelSpace(tuple(f'P{i}' for i in range(2, 8)), (6., 5., 4., 3., 2., 1.),
                 12., (8, ) * 6, 8, tuple(2.**i for i in range(2, 8)))


def build(space, horizon=4):
    policy = TokenPolicy(width=8, hidden=16, layers=2, cells=2)
    policy.bind(space, horizon)
    # A near-zero last layer would hide differences.
    torch.nn.init.orthogonal_(policy.shared.action[2].weight)
    return policy


class Losses:

    def __init__(self, values):
        self.values = values

    def compute(self, levels):
        return self.values * levels

    def compute_all(self):
        return self.values


def process(space, batch=5, horizon=4):
    return DecisionProcess(
        space, torch.randn(batch, space.global_channels),
        torch.randn(batch, sum(space.level_channels)),
        Losses(torch.rand(batch, len(space))), horizon)


def permuted(policy, space, order):
    """The same policy and space with the levels in another order."""
    other = LevelSpace(*(
        tuple(field[i] for i in order) if isinstance(field, tuple) else field
        for field in vars(space).values()))
    copy = build(other)
    copy.shared.load_state_dict(policy.shared.state_dict())
    copy.adapter.deepest.load_state_dict(policy.adapter.deepest.state_dict())
    for new, old in enumerate(order):
        copy.adapter.levels[new].load_state_dict(
            policy.adapter.levels[old].state_dict())
    return copy


@pytest.mark.parametrize('order', [(3, 2, 1, 0), (1, 3, 0, 2)])
def test_permuting_the_levels_permutes_the_logits(order):
    policy = build(PYRAMID)
    states = play(process(PYRAMID), policy).observation
    maps = states.level_features.split(PYRAMID.level_channels, -1)
    shuffled = states.replace(
        level_features=torch.cat([maps[i] for i in order], -1),
        level_losses=states.level_losses[..., list(order)],
        selected=states.selected[..., list(order)])
    choice, values = policy.evaluate(states)
    other, other_values = permuted(policy, PYRAMID, order).evaluate(shuffled)
    torch.testing.assert_close(
        other.logits, choice.logits[..., list(order)], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other_values, values, rtol=1e-4, atol=1e-5)
    # The case is not a trivial one: levels differ.
    assert (choice.logits.amax(-1) - choice.logits.amin(-1)).min() > 0.01


@pytest.mark.parametrize('space', [CLASSIFIER, SIX])
@pytest.mark.parametrize('horizon', [1, 4, 7])
def test_no_shared_weight_has_another_shape_in_another_task(space, horizon):
    one, two = build(PYRAMID), build(space, horizon)
    shapes = [{key: tuple(weight.shape) for key, weight
               in policy.shared.state_dict().items()} for policy in (one, two)]
    assert shapes[0] == shapes[1]
    # All that differs is the adapter.
    rest = {key for key, _ in two.named_parameters()
            if not key.startswith('shared.')}
    assert all(key.startswith('adapter.') for key in rest)


@pytest.mark.parametrize('space', [CLASSIFIER, SIX])
def test_shared_weights_act_in_another_task(space):
    trained, policy = build(PYRAMID), build(space)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in trained.shared.parameters():
            weight += 0.1 * torch.randn_like(weight)
    policy.shared.load_state_dict(trained.shared.state_dict())
    for key, weight in policy.shared.state_dict().items():
        assert weight.equal(trained.shared.state_dict()[key]), key
    episode = play(process(space), policy)
    assert episode.shape == (4, 5)
    assert episode.log_prob.isfinite().all()
    assert (episode.action[-1] > 0).all()


def test_a_token_sees_its_own_loss_and_whether_it_is_selected():
    policy = build(PYRAMID)
    state = process(PYRAMID).state
    memory = policy.initial(5, torch.device('cpu'))
    before = policy(state, memory)[0].logits
    for field, value in (('level_losses', 1.), ('selected', True)):
        changed = state.get(field).clone()
        changed[:, 2] = value
        after = policy(state.replace(**{field: changed}), memory)[0].logits
        difference = (after - before).abs()
        assert difference[:, 2].min() > 0, field
        assert difference[:, 2].mean() > difference[:, [0, 1, 3]].mean(), field


def test_a_level_without_a_stride_is_an_error():
    space = LevelSpace(('P2', 'P3'), (2., 1.), 3., (3, 3), 5)
    with pytest.raises(ValueError, match=r"strides \(\); accepted: one for"):
        TokenPolicy().bind(space, 4)


@pytest.mark.parametrize('key', ['width', 'hidden', 'layers', 'cells'])
def test_impossible_settings_are_errors(key):
    with pytest.raises(ValueError, match=f'TokenPolicy: {key}=0; accepted'):
        TokenPolicy(**{key: 0})
