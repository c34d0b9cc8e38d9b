"""Controls keep what they say they keep, and learn as what they control."""

import copy

import pytest
import torch

POLICY = dict(
    type='mmrlkd.PolicySelector', horizon=1, rollout_batches=1,
    policy=dict(type='mmrlkd.MLPPolicy', hidden=16, global_dim=5, level_dim=3))
COSTS = torch.tensor([4., 2., 1., .5])
CONTROLS = ['shuffled', 'opposite', 'rates']


@pytest.fixture
def make(build, make_space):
    return lambda control, selector=POLICY, **kwargs: build(
        'ControlSelector', make_space(**kwargs), control=control,
        selector=selector)


@pytest.mark.parametrize('control', CONTROLS)
@pytest.mark.parametrize('batch', [1, 2, 9])
def test_rates_and_cost_of_the_batch_stay(make, start, control, batch):
    selector = make(control)
    choice = selector.select(start(selector, torch.randn(batch, 5)))
    own, given = choice.own.selection, choice.selection
    assert given.levels.sum(0).equal(own.levels.sum(0))
    assert (given.levels * COSTS).sum().equal((own.levels * COSTS).sum())
    torch.testing.assert_close(
        given.weights, selector.space.weights(given.levels))
    if control != 'rates':  # the same choices, in another order
        assert sorted(given.levels.tolist()) == sorted(own.levels.tolist())


@pytest.mark.parametrize('control', CONTROLS)
def test_images_get_other_choices(make, start, control):
    selector = make(control)
    choice = selector.select(start(selector, torch.randn(50, 5)))
    assert not choice.selection.levels.equal(choice.own.selection.levels)


def test_opposite_is_the_reverse_order_of_cost(make, start):
    selector = make('opposite')
    choice = selector.select(start(selector, torch.randn(50, 5)))
    own = (choice.own.selection.levels * COSTS).sum(-1)
    given = (choice.selection.levels * COSTS).sum(-1)
    order = own.argsort(stable=True)
    assert given[order].equal(own[order].flip(0))


def test_shuffling_is_uniform(make, start):
    """The choice of one image goes to each of three equally often."""
    selector = make('shuffled', dict(type='mmrlkd.GreedySelector'))
    process = start(selector, torch.zeros(3, 5))
    process._losses.losses = torch.tensor([
        [1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.]])
    places = torch.stack([selector.select(process).selection.levels[:, 0]
                          for _ in range(900)]).float().mean(0)
    torch.testing.assert_close(places, torch.full((3, ), 1 / 3), rtol=0, atol=.06)


@pytest.mark.parametrize('control', CONTROLS)
@pytest.mark.parametrize('learner', ['PPO', 'GRPO', 'ExpectedReward'])
def test_learns_from_its_own_choice(
        make, build, make_space, start, make_signals, control, learner):
    """To the last bit as without a control."""
    config = POLICY | dict(learner=dict(type=f'mmrlkd.{learner}'))
    controlled = make(control, config)
    alone = build(config['type'].removeprefix('mmrlkd.'), make_space(),
                  **{key: value for key, value in config.items()
                     if key != 'type'})
    alone.load_run_state(copy.deepcopy(controlled.run_state()))
    features, losses = torch.randn(8, 5), torch.rand(8, 4)
    logs = []
    for selector in controlled, alone:
        torch.manual_seed(1)
        choice = selector.select(start(selector, features))
        torch.manual_seed(2)
        selector.observe(make_signals(losses), choice)
        logs.append(selector.learn())
    assert logs[0] is not None
    for key, value in vars(logs[0]).items():
        assert value.equal(getattr(logs[1], key)), key
    for one, two in zip(controlled.parameters(), alone.parameters(),
                        strict=True):
        assert one.equal(two)


def test_modes_reach_what_is_controlled(make, start):
    selector = make('shuffled', POLICY | dict(
        reward=dict(type='mmrlkd.AlignmentReward')))
    assert selector.learns and selector.adaptive and selector.uses_teacher
    assert selector.needs_gradients
    selector.learning = False
    assert not selector.needs_gradients
    assert selector.select(
        start(selector, torch.randn(4, 5))).episode is None
    selector.set_progress(0.5)
    assert selector.selector.learner.optimizer.param_groups[0]['lr'] == 1.5e-4


def test_unknown_controls_are_errors(make):
    with pytest.raises(ValueError, match=(
            "ControlSelector: control='other'; accepted: 'shuffled'")):
        make('other')
