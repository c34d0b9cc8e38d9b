"""The rules of an episode, against a second, slower way of writing them."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from mmrlkd.distillation.selection.environment import (
    DecisionProcess,
    SubsetTree,
    check_space,
)
from mmrlkd.rl import SubsetDistribution
from mmrlkd.structures import LevelSpace

PYRAMID = LevelSpace(
    names=('P2', 'P3', 'P4', 'P5'), costs=(4., 2., 1., .5), budget=7.5,
    level_channels=(3, 3, 3, 3), global_channels=5)


def space_of(costs, budget):
    names = tuple(f'P{i}' for i in range(len(costs)))
    return LevelSpace(names, tuple(costs), budget, (3, ) * len(costs), 5)


class RecordingLosses:
    """Level i of image b has loss 10 b + i + 1; remembers what was asked."""

    def __init__(self):
        self.asked = []

    def compute(self, levels):
        self.asked.append(levels.clone())
        image = torch.arange(len(levels))[:, None]
        losses = 10. * image + torch.arange(levels.shape[1]) + 1
        return losses * levels

    def compute_all(self):
        self.asked.append('all')
        return torch.tensor([[1., 2., 3., 4.], [11., 12., 13., 14.]])


def start(space, batch=1, horizon=4, losses=None):
    return DecisionProcess(
        space, torch.randn(batch, 5), torch.randn(batch, 3 * len(space)),
        losses or RecordingLosses(), horizon)


def offered(space, step, horizon):
    """Levels offered at a step: the coarsest ceil(L (t + 1) / T) without those
    of earlier steps."""
    levels = len(space)
    before, after = (math.ceil(levels * each / horizon)
                     for each in (step, step + 1))
    return set(range(levels - after, levels - before))


def completions(space, held, step, horizon):
    """What can be held at the end, by trying everything."""
    if step == horizon:
        return {held} if len(held) >= space.min_levels else set()
    found = set()
    new = sorted(offered(space, step, horizon))
    for size in range(len(new) + 1):
        for added in itertools.combinations(new, size):
            after = held | set(added)
            if sum(space.costs[i] for i in after) <= space.budget + 1e-6:
                found |= completions(space, after, step + 1, horizon)
    return found


def naive_feasible(space, held, step, horizon):
    levels = len(space)
    before = frozenset(i for i in range(levels) if held >> i & 1)
    allowed = []
    for subset in range(2**levels):
        members = frozenset(i for i in range(levels) if subset >> i & 1)
        allowed.append(
            before <= members
            and members - before <= offered(space, step, horizon)
            and sum(space.costs[i] for i in members) <= space.budget + 1e-6
            and bool(completions(space, members, step + 1, horizon)))
    return allowed


SPACES = [
    space_of((1., ), 1.),
    space_of((2., 1.), 1.),
    *(replace(PYRAMID, budget=budget) for budget in (0.5, 1., 2., 3., 7.5)),
    space_of((3., 2., 2., 1., 1., 1.), 4.),
    space_of((.5, 1., 2., 4.), 1.),  # the cheapest level is the finest
]


@pytest.mark.parametrize('min_levels', [0, 1])
@pytest.mark.parametrize('horizon', [1, 2, 3, 4, 7])
@pytest.mark.parametrize('space', SPACES)
def test_every_sequence_follows_the_rules_and_can_be_completed(
        space, horizon, min_levels):
    space = replace(space, min_levels=min_levels)
    reached = {0: ()}
    for step in range(horizon):
        following = {}
        for held, path in reached.items():
            process = start(space, horizon=horizon)
            for earlier in path:
                process.step(torch.tensor([earlier]))
            feasible = process.state.action_mask[0].tolist()
            assert feasible == naive_feasible(space, held, step, horizon)
            assert any(feasible)
            for subset in (s for s, allowed in enumerate(feasible) if allowed):
                assert subset not in following  # along one path only
                following[subset] = (*path, subset)
        reached = following
    # In the end, every affordable subset could be reached, and no other.
    assert set(reached) == {s for s, allowed in enumerate(
        naive_feasible(space, 0, 0, 1)) if allowed}
    assert SubsetTree(space, horizon).outcomes.tolist() == sorted(reached)


def uniform_rates(space, horizon, episodes=20000):
    """How often a policy without preferences selects each level."""
    process = start(space, batch=episodes, horizon=horizon)
    for _ in range(horizon):
        mask = process.state.action_mask
        process.step(SubsetDistribution(
            torch.zeros(episodes, len(space)), mask).sample())
    return process.state.selected.float().mean(0)


@pytest.mark.parametrize('horizon', [1, 2, 4])
def test_every_level_has_the_same_chance_once(horizon):
    """Each is offered once: .5 for a policy that prefers nothing."""
    rates = uniform_rates(replace(PYRAMID, min_levels=0), horizon)
    torch.testing.assert_close(rates, torch.full((4, ), .5), rtol=0, atol=.02)


@pytest.mark.parametrize(('horizon', 'rate'), [(1, 8 / 15), (4, .5 + .5 / 8)])
def test_at_least_one_level_costs_little_of_that(horizon, rate):
    """In one step all 15 subsets are alike; in four, the finest is a must
    where the three before were passed over."""
    rates = uniform_rates(PYRAMID, horizon)
    expected = torch.tensor(
        [rate] * 4 if horizon == 1 else [rate, .5, .5, .5])
    torch.testing.assert_close(rates, expected, rtol=0, atol=.02)


@pytest.mark.parametrize(('horizon', 'counts'), [
    (1, [1, 16]), (2, [1, 4, 16]), (4, [1, 2, 4, 8, 16]),
    (7, [1, 2, 4, 4, 8, 8, 16, 16])])
def test_number_of_nodes(horizon, counts):
    tree = SubsetTree(replace(PYRAMID, min_levels=0), horizon)
    assert [len(held) for held in tree.held] == counts


def test_passing_is_masked_where_nothing_affordable_would_be_left():
    """Only the coarsest level can be paid for: it is taken when offered."""
    process = start(replace(PYRAMID, budget=.5))
    assert process.state.action_mask[0].nonzero().flatten().tolist() == [8]
    free = start(replace(PYRAMID, budget=.5, min_levels=0))
    assert free.state.action_mask[0].nonzero().flatten().tolist() == [0, 8]


@pytest.mark.parametrize('horizon', [1, 2, 3, 4, 7])
def test_nodes_show_what_an_episode_shows(horizon):
    """Play every course, and compare its states with the tree's nodes."""
    process = start(PYRAMID, batch=2, horizon=horizon)
    tree = SubsetTree(PYRAMID, horizon)
    known = process.known()
    nodes = tree.nodes(known)
    assert [len(held) for held in tree.held[:-1]] == [
        step.observation.shape[1] for step in nodes]
    for outcome in range(len(tree.outcomes)):
        path, node = [], outcome
        for step in reversed(nodes):
            path.append((int(step.parent[node]), step.action[node]))
            node = path[-1][0]
        state = process.reset()
        for step, (node, action) in zip(nodes, reversed(path), strict=True):
            seen = step.observation[:, node]
            for key, value in state.items():
                assert seen.get(key).equal(value), key
            state, _ = process.step(action.expand(2))
        assert state.selected[0].int() @ torch.tensor([1, 2, 4, 8]).int() == (
            tree.outcomes[outcome])


def test_one_step_asks_for_no_loss():
    losses = RecordingLosses()
    process = start(PYRAMID, batch=2, horizon=1, losses=losses)
    process.known()
    process.step(torch.tensor([3, 8]))
    assert losses.asked == []


@pytest.mark.parametrize(('budget', 'count'), [(1, 2), (2, 4), (3, 6), (7.5, 15)])
def test_number_of_feasible_subsets(budget, count):
    process = start(replace(PYRAMID, budget=budget), horizon=1)
    assert process.state.action_mask.sum() == count


def test_images_of_a_batch_are_independent():
    process = start(PYRAMID, batch=2)
    process.step(torch.tensor([0b1000, 0b0000]))
    feasible = process.state.action_mask
    assert feasible[0].nonzero().squeeze(-1).tolist() == [0b1000, 0b1100]
    assert feasible[1].nonzero().squeeze(-1).tolist() == [0b0000, 0b0100]


def test_states_along_an_episode():
    process = start(PYRAMID, batch=2)
    state = process.state
    assert process.batch_size == 2
    assert process.device == torch.device('cpu')
    assert state.loss.tolist() == [0, 0]
    assert not state.selected.any()
    assert state.budget_left.tolist() == [1, 1]
    assert state.step.tolist() == [0, 0]

    state, reward = process.step(torch.tensor([0b1000, 0b0000]))
    assert state is process.state
    assert reward is None
    assert state.loss.tolist() == [4, 0]
    assert state.budget_left.tolist() == pytest.approx([1 - .5 / 7.5, 1])

    state, reward = process.step(torch.tensor([0b1100, 0b0100]))
    assert state.loss.tolist() == [3.5, 13]
    process.step(torch.tensor([0b1110, 0b0100]))
    state, reward = process.step(torch.tensor([0b1111, 0b0100]))
    assert state.selected.tolist() == [
        [True] * 4, [False, False, True, False]]
    assert state.budget_left.tolist() == pytest.approx([0, 1 - 1 / 7.5])
    assert state.step.tolist() == [4, 4]
    assert state.loss.tolist() == [0, 0]  # nothing is decided any more


def test_losses_are_asked_once_a_step_for_the_selected_levels_alone():
    losses = RecordingLosses()
    process = start(PYRAMID, batch=2, losses=losses)
    assert not losses.asked
    for step, actions in enumerate(([0, 8], [4, 12], [4, 12], [5, 12])):
        state, reward = process.step(torch.tensor(actions))
        if step < 3:  # after the last step nothing is decided
            assert losses.asked[-1].equal(state.selected)
    assert len(losses.asked) == 3


def test_a_loss_source_that_returns_more_changes_nothing():
    class Garrulous:
        def compute(self, levels):
            return torch.where(levels, 2., torch.nan)

    process = start(PYRAMID, horizon=2, losses=Garrulous())
    assert process.step(torch.tensor([0b1000])).observation.loss.tolist() == [2]


def test_rounding_does_not_cost_a_level():
    process = start(space_of((.1, .2), .3), horizon=1)
    assert process.state.action_mask[0].tolist() == [False, True, True, True]


def test_large_costs_such_as_flops():
    process = start(
        space_of((4e10 + 1e3, 2e10, 1e10, 5e9), 7.5e10), horizon=1)
    assert process.state.action_mask.sum() == 14


@pytest.mark.parametrize(('space', 'sentence'), [
    (space_of((), 1.), r'levels=\(\) names no level'),
    (space_of((1., 0.), 1.), 'cost of level P1 is 0.0'),
    (space_of((1., -2.), 1.), 'cost of level P1 is -2.0'),
    (space_of((1., math.nan), 1.), 'cost of level P1 is nan'),
    (space_of((2., 1.), 0.), 'budget=0.0 does not pay .* at least 1.0'),
    (space_of((2., 1.), -1.), 'budget=-1.0 does not pay'),
    (space_of((2., 1.), 0.9), 'budget=0.9 does not pay .* the cost of P1'),
    (space_of((2., 1.), math.nan), 'budget=nan does not pay'),
    (replace(PYRAMID, costs=(1., )), 'one cost for each of the levels'),
    (replace(PYRAMID, names=('P2', 'P2', 'P3', 'P4')), 'names a level twice'),
])
def test_impossible_spaces_are_errors(space, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_space(space)


@pytest.mark.parametrize('space', SPACES)
def test_possible_spaces_pass(space):
    check_space(space)


def test_repeated_plays_several_episodes_of_each_image():
    losses = RecordingLosses()
    single = start(PYRAMID, batch=2, losses=losses)
    process = single.repeated(3)
    assert process.batch_size == 6
    assert process.horizon == single.horizon
    for mine, other in zip(process.state.values(), single.state.values(),
                           strict=True):
        assert mine.equal(other.repeat_interleave(3, 0))
    assert process.state.action_mask.equal(
        single.state.action_mask.repeat_interleave(3, 0))

    # Episodes of an image part, and each sees the losses of its own levels.
    state, reward = process.step(torch.tensor([0, 8, 0, 8, 8, 0]))
    assert state.loss.tolist() == [0, 4, 0, 14, 14, 0]
    state, reward = process.step(torch.tensor([4, 12, 0, 8, 12, 0]))
    assert state.loss.tolist() == [3, 3.5, 0, 14, 13.5, 0]
    assert losses.asked == ['all']
    # The process of single episodes has not moved.
    assert single.state.step.tolist() == [0, 0]


def test_reset_begins_the_episodes_again():
    process = start(PYRAMID, batch=2)
    first = process.state
    assert process.reset() is first  # nothing has happened yet
    process.step(torch.tensor([0b1000, 0b0000]))
    again = process.reset()
    assert (again == first).all()
    assert process.state is again
