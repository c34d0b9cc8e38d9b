"""A softmax of weights, learned from what each level is worth alone."""

import copy

import pytest
import torch
from torch.testing import assert_close

from mmrlkd.registry import REWARDS

GATE = dict(type='mmrlkd.MLPPolicy', hidden=32, global_dim=5, level_dim=3)


@pytest.fixture
def make(build, make_space):

    def make(budget=None, **kwargs):
        return build('GatedSelector', make_space(4, budget),
                     **dict(gate=GATE) | kwargs)

    return make


@pytest.fixture
def learn(start, make_signals):

    def learn(selector, features, losses):
        choice = selector.select(start(selector, features))
        selector.observe(make_signals(losses), choice)
        return choice.selection, selector.learn()

    return learn


def test_all_levels_or_the_affordable_ones_with_most_weight(make, start):
    selector = make()
    process = start(selector, torch.randn(9, 5))
    weights = selector.weigh(process.state).exp()
    found = selector.select(process).selection
    assert found.levels.all()
    assert_close(found.weights, weights)

    tight = make(budget=2.)  # without P2; P3 alone, or P4 and P5
    tight.load_run_state(selector.run_state())
    found = tight.select(start(tight, process.state.global_feature)).selection
    for row, weight in zip(found.levels, weights.tolist(), strict=True):
        both = weight[2] + weight[3]
        assert row.tolist() == (
            [False, True, False, False] if weight[1] > both else
            [False, False, True, True])


@pytest.mark.parametrize('efficiency', [0., 1.])
def test_it_tends_to_the_softmax_of_the_gains(make, learn, efficiency):
    """Two kinds of images, whose features tell their losses. All levels are
    distilled in any case, so what they cost does not count."""
    torch.manual_seed(0)
    selector = make(lr=3e-3, temperature=0.1, reward=dict(
        type='mmrlkd.ResidualReward', efficiency=efficiency))
    kinds = torch.randn(2, 5)
    losses = torch.tensor([[4., 3., 2., 1.], [1., 1., 1., 7.]])
    for step in range(400):
        selector.set_progress(step / 400)
        drawn = torch.randint(2, (16, ))
        selection, _ = learn(selector, kinds[drawn], losses[drawn])
    learn(selector, kinds, losses)
    found, _ = learn(selector, kinds, losses)
    assert_close(found.weights, (losses / 10 / 0.1).softmax(-1),
                 atol=0.02, rtol=0)


@pytest.mark.parametrize('name', [
    'ResidualReward', 'AlignmentReward', 'LookaheadReward'])
def test_any_reward_will_do(make, learn, name):
    assert name in REWARDS.module_dict
    selector = make(reward=dict(type=f'mmrlkd.{name}'))
    _, diagnostics = learn(selector, torch.randn(4, 5), torch.rand(4, 4))
    assert diagnostics.gain.isfinite() and not diagnostics.skipped_steps


def test_a_broken_image_teaches_nothing_and_spoils_nothing(make, learn):
    features, losses = torch.randn(4, 5), torch.rand(4, 4)
    whole, broken, blind = make(), make(), make()
    for other in broken, blind:
        other.load_run_state(whole.run_state())
    learn(whole, features, losses)
    ruined = losses.clone()
    ruined[3] = float('nan')
    _, diagnostics = learn(broken, torch.cat([features, features[:1] / 0]),
                           torch.cat([losses, ruined[3:]]))
    assert diagnostics.dropped_images == 1
    for mine, theirs in zip(whole.parameters(), broken.parameters()):
        assert_close(mine, theirs)
    before = [p.clone() for p in blind.parameters()]
    _, diagnostics = learn(blind, features, losses * float('nan'))
    assert diagnostics.skipped_steps == 1
    assert all(map(torch.equal, before, blind.parameters()))


def test_it_resumes_bit_for_bit(make, learn):
    one, two = make(), make()
    batches = torch.randn(6, 4, 5), torch.rand(6, 4, 4)
    for features, losses in zip(*batches):
        learn(one, features, losses)
    two.load_run_state(copy.deepcopy(one.run_state()))
    for features, losses in zip(*batches):
        learn(one, features, losses)
        learn(two, features, losses)
    assert all(map(torch.equal, one.parameters(), two.parameters()))


def test_while_not_learning_nothing_is_kept(make, learn):
    selector = make()
    selector.learning = False
    _, diagnostics = learn(selector, torch.randn(4, 5), torch.rand(4, 4))
    assert diagnostics is None


@pytest.mark.parametrize('key', ['temperature', 'lr'])
def test_bad_numbers_are_refused(make, key):
    with pytest.raises(ValueError, match=f'{key}=0; accepted: a number > 0'):
        make(**{key: 0})
