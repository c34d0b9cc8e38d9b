"""Rewards: what holds for all, then each one's known answers."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmrlkd.distillation.selection.rewards import AdditiveReward, StreamMean
from mmrlkd.registry import REWARDS
from mmrlkd.rl import subset_table
from mmrlkd.structures import LevelSpace

COSTS = {1: [2.], 2: [2., 1.], 4: [4., 2., 1., .5], 6: [3., 2., 2., 1., 1., 1.]}


class FixedSignals:
    """Given numbers of each image; a step removes a share of what it covers."""

    def __init__(self, losses, products=None, **descriptors):
        self.losses = losses
        self.products = losses if products is None else products
        self.descriptors = descriptors
        self.asked = []

    def discrepancy(self):
        self.asked.append('discrepancy')
        return self.losses

    def alignment(self):
        self.asked.append('alignment')
        return self.products

    def after_step(self, levels, step):
        self.asked.append('after_step')
        covered = self.losses.where(levels, 0.).sum(-1)
        return self.losses.sum(-1) - 4 * step * covered

    def describe(self, name):
        self.asked.append(name)
        return self.descriptors[name]

    def of(self, images):
        return FixedSignals(
            self.losses[images], self.products[images],
            **{name: each[images] for name, each in self.descriptors.items()})

    def times(self, factor):
        return FixedSignals(
            self.losses * factor, self.products * factor,
            **{name: each * factor for name, each in self.descriptors.items()})


def random_signals(batch, levels):
    return FixedSignals(
        torch.rand(batch, levels), torch.randn(batch, levels) + 0.5,
        objects=torch.rand(batch) * 20, confidence=torch.rand(batch),
        student_loss=torch.rand(batch) + 1, teacher_loss=torch.rand(batch))


def values(levels):
    return [float(levels - i) for i in range(levels)]


#: Every reward by the number of levels, with what it asks of the signals.
ALL = {
    'residual': lambda n: dict(type='ResidualReward'),
    'residual of worth': lambda n: dict(
        type='ResidualReward', level_values=values(n)),
    'alignment': lambda n: dict(type='AlignmentReward'),
    'alignment of worth': lambda n: dict(
        type='AlignmentReward', level_values=values(n)),
    'lookahead': lambda n: dict(type='LookaheadReward'),
    'paper literal': lambda n: dict(type='PaperLiteralReward'),
    'worth, discrepancy': lambda n: dict(
        type='WorthReward', level_values=values(n)),
    'worth, alignment': lambda n: dict(
        type='WorthReward', level_values=values(n), signal='alignment'),
    'worth, task gap': lambda n: dict(
        type='WorthReward', level_values=values(n), signal='task_gap'),
    'worth, descriptor': lambda n: dict(
        type='WorthReward', level_values=values(n), signal='confidence'),
    'group worth': lambda n: dict(
        type='GroupWorthReward', descriptor='objects', edges=[10.],
        worth=[[0.1] * n, values(n)]),
}
#: Those whose gains are proportional to the signals.
PROPORTIONAL = [name for name in ALL if name != 'group worth']


def build(name, levels=4, normalize='none', **kwargs):
    config = ALL[name](levels) if name in ALL else dict(type=name)
    config['type'] = f"mmrlkd.{config['type']}"
    reward = REWARDS.build({**config, **kwargs})
    reward.bind(LevelSpace(
        tuple(f'P{i + 2}' for i in range(levels)), tuple(COSTS[levels]),
        sum(COSTS[levels]), (3, ) * levels, 5, normalize=normalize))
    return reward


def test_the_family_is_complete():
    assert {ALL[name](4)['type'] for name in ALL} == {
        name for name, member in REWARDS.module_dict.items()
        if member.__module__.startswith('mmrlkd.')}


@pytest.mark.parametrize('levels', COSTS)
@pytest.mark.parametrize('batch', [1, 7])
@pytest.mark.parametrize('name', ALL)
class TestEveryReward:

    def test_every_subset_has_a_gain_and_the_empty_one_none(
            self, name, batch, levels):
        reward = build(name, levels)
        signals = random_signals(batch, levels)
        reward.gains(signals, update=True)
        gains = reward.gains(signals)
        assert gains.shape == (batch, 2**levels)
        assert (gains[:, 0] == 0).all()
        assert gains.isfinite().all()

    def test_additive_where_it_says_so(self, name, batch, levels):
        reward = build(name, levels)
        if not isinstance(reward, AdditiveReward):
            return
        signals = random_signals(batch, levels)
        reward.gains(signals, update=True)
        gains = reward.gains(signals)
        alone = gains[:, [1 << i for i in range(levels)]]
        table = subset_table(levels, gains.device).float()
        torch.testing.assert_close(gains, alone @ table.T)

    def test_finite_without_any_signal(self, name, batch, levels):
        reward = build(name, levels)
        signals = random_signals(batch, levels).times(0.)
        reward.gains(signals, update=True)
        assert reward.gains(signals).isfinite().all()


@pytest.mark.parametrize('name', ALL)
class TestOneCurrency:
    """Gains are in one unit over the stream, never within an image."""

    def test_the_mean_image_gains_one_by_its_best_subset(self, name):
        reward = build(name)
        stream = [random_signals(16, 4) for _ in range(40)]
        for signals in stream * 5:
            reward.gains(signals, update=True)
        best = torch.cat([reward.gains(each).abs().amax(-1) for each in stream])
        assert best.mean().item() == pytest.approx(1., abs=0.05)

    def test_no_other_image_of_the_batch_counts(self, name):
        reward = build(name)
        reward.gains(random_signals(16, 4), update=True)
        signals = random_signals(7, 4)
        together = reward.gains(signals)
        for i in range(7):
            torch.testing.assert_close(
                together[i:i + 1], reward.gains(signals.of([i])))

    def test_asking_moves_nothing_and_updating_does(self, name):
        reward = build(name)
        reward.gains(random_signals(16, 4), update=True)
        before = {k: v.clone() for k, v in reward.state_dict().items()}
        signals = random_signals(7, 4)
        reward.gains(signals)
        assert all(torch.equal(v, reward.state_dict()[k])
                   for k, v in before.items())
        reward.gains(signals, update=True)
        assert any(not torch.equal(v, reward.state_dict()[k])
                   for k, v in before.items())

    def test_resumed_from_a_file_bit_for_bit(self, name):
        one, two = build(name), build(name)
        for _ in range(3):
            one.gains(random_signals(16, 4), update=True)
        file = io.BytesIO()
        torch.save(one.state_dict(), file)
        file.seek(0)
        two.load_state_dict(torch.load(file, weights_only=True))
        for _ in range(3):
            signals = random_signals(16, 4)
            one.gains(signals, update=True)
            two.gains(signals, update=True)
            assert one.gains(signals).equal(two.gains(signals))

    def test_what_is_not_finite_shows_in_its_own_image_only(self, name):
        reward, signals = build(name), random_signals(3, 4)
        for each in (signals.losses, signals.products,
                     *signals.descriptors.values()):
            each[1] = math.nan
        reward.gains(signals, update=True)
        finite = reward.gains(signals)[:, -1].isfinite()
        assert finite.tolist() == [True, False, True]
        assert all(v.isfinite().all() for v in reward.state_dict().values())

    def test_gradients_stay_with_the_student(self, name):
        reward, signals = build(name), random_signals(3, 4)
        signals.losses.requires_grad_()
        signals.products.requires_grad_()
        reward.gains(signals, update=True)
        assert not reward.gains(signals).requires_grad

    def test_a_bad_efficiency_is_refused(self, name):
        for efficiency in (-0.1, math.nan):
            with pytest.raises(ValueError, match=(
                    f'Reward: efficiency={efficiency}; accepted: a number >= 0')):
                build(name, efficiency=efficiency)


@pytest.mark.parametrize('levels', COSTS)
@pytest.mark.parametrize('name', [
    'residual', 'alignment', 'residual of worth', 'alignment of worth',
    'worth, discrepancy', 'worth, alignment', 'worth, task gap',
    'worth, descriptor', 'group worth'])
def test_a_worth_is_shared_as_the_weight_is(name, levels):
    """What levels are worth alone adds up where each keeps its weight, and is
    averaged where the weights of an image sum to one. Signals as they are add
    up in any case."""
    signals = random_signals(5, levels)
    table = subset_table(levels, torch.device('cpu')).float()
    for normalize in 'none', 'image':
        reward = build(name, levels, normalize)
        reward.gains(signals, update=True)
        gains = reward.gains(signals)
        expected = gains[:, [1 << i for i in range(levels)]] @ table.T
        if normalize == 'image' and 'worth' in name:
            expected = expected / table.sum(-1).clamp(min=1)
        torch.testing.assert_close(gains, expected)


@pytest.mark.parametrize('name', ['ResidualReward', 'WorthReward'])
def test_the_mean_of_two_levels_by_hand(name):
    """Both images are the average one at all levels: P2 alone, the best subset,
    gains one unit and P5 alone a quarter, both together their mean."""
    reward = build(name, normalize='image', level_values=[4., 2., 1., 1.])
    signals = FixedSignals(torch.tensor([[3., 2., 1., 7.]] * 2))
    reward.gains(signals, update=True)
    gains = reward.gains(signals)[0]
    torch.testing.assert_close(
        gains[[0b0001, 0b1000, 0b1001, 0b1111]],
        torch.tensor([4., 1., 2.5, 2.]) / 4)


@pytest.mark.parametrize('name', PROPORTIONAL)
def test_twice_the_signal_is_twice_the_gain(name):
    """Normalised within the image, both would gain the same."""
    reward, signals = build(name), random_signals(8, 4)
    reward.gains(signals, update=True)
    torch.testing.assert_close(
        reward.gains(signals.times(2.)), 2 * reward.gains(signals))


@pytest.mark.parametrize(('name', 'asked', 'needs_gradients', 'descriptors'), [
    ('residual', {'discrepancy'}, False, ()),
    ('alignment', {'alignment'}, True, ()),
    ('lookahead', {'discrepancy', 'after_step'}, True, ()),
    ('paper literal', {'discrepancy'}, False, ()),
    ('worth, discrepancy', {'discrepancy'}, False, ()),
    ('worth, alignment', {'alignment'}, True, ()),
    ('worth, task gap', {'student_loss', 'teacher_loss'}, False,
     ('student_loss', 'teacher_loss')),
    ('worth, descriptor', {'confidence'}, False, ('confidence', )),
    ('group worth', {'objects'}, False, ('objects', )),
])
def test_asks_for_what_it_says(name, asked, needs_gradients, descriptors):
    reward, signals = build(name), random_signals(3, 4)
    reward.gains(signals, update=True)
    reward.gains(signals)
    assert set(signals.asked) == asked
    assert reward.needs_gradients == needs_gradients
    assert tuple(reward.descriptors) == descriptors


@pytest.mark.slow
def test_two_ranks_have_one_unit(tmp_path):
    """Rank 0 sees three images and rank 1 one: one unit, that of the four."""
    processes = [subprocess.Popen(
        [sys.executable, Path(__file__).with_name('ranks.py'), str(rank),
         tmp_path]) for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (torch.load(tmp_path / f'{rank}.out') for rank in range(2))
    assert first.keys() == second.keys()
    assert all(first[key].equal(second[key]) for key in first)
    whole = build('residual of worth')
    losses = torch.arange(16.).reshape(4, 4) + 1
    whole.gains(FixedSignals(losses), update=True)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(first[key], value)


# -- running means -------------------------------------------------------------


def test_the_first_batches_count_alike_and_then_the_last_more():
    mean = StreamMean()
    for i, value in enumerate([1., 2., 6., 3.], 1):
        mean.update(torch.tensor([value, value]))
        assert mean.unit.item() == pytest.approx(
            sum([1., 2., 6., 3.][:i]) / i)
    mean.updates.fill_(100)
    mean.update(torch.tensor([23.]))
    assert mean.unit.item() == pytest.approx(0.95 * 3 + 0.05 * 23)


def test_entries_are_apart():
    mean = StreamMean(2)
    assert mean.unit.tolist() == [1., 1.]
    mean.update(torch.tensor([[2., math.nan], [4., math.inf]]))
    assert mean.unit.tolist() == [3., 1.]


# -- known answers -------------------------------------------------------------

LOSSES = torch.tensor([[1., 2., 3., 4.], [3., 6., 9., 12.]])  # in all 10, 30
EACH = [1, 2, 4, 8]  # index of each level alone


def test_residual_counts_losses_as_they_are_trained():
    reward, signals = build('residual'), FixedSignals(LOSSES)
    reward.gains(signals, update=True)
    torch.testing.assert_close(reward.gains(signals)[:, EACH], LOSSES / 20)


def test_alignment_keeps_the_sign():
    products = torch.tensor([[3., -1., 0., 4.], [-6., 0., 0., 0.]])
    reward, signals = build('alignment'), FixedSignals(LOSSES, products)
    reward.gains(signals, update=True)  # (|3 + 4| + |−6|) / 2
    torch.testing.assert_close(reward.gains(signals)[:, EACH], products / 6.5)


def test_lookahead_is_what_the_step_lowers():
    """Not ten times less than the cost: all levels gain one on average."""
    reward, signals = build('lookahead', step=0.05), FixedSignals(LOSSES)
    reward.gains(signals, update=True)
    assert reward.stream.mean.item() == pytest.approx(4 * 0.05 * 20)
    torch.testing.assert_close(reward.gains(signals)[:, EACH], LOSSES / 20)
    with pytest.raises(ValueError, match='step=0; accepted: a number > 0'):
        build('lookahead', step=0)


def test_values_that_cancel_leave_the_unit_as_it_is():
    """All levels together are worth next to nothing, and the best subset is
    not: in units of the former, gains would have no bound."""
    reward = build('residual', level_values=[3., -1., -1., -1. + 1e-6])
    signals = FixedSignals(LOSSES)
    assert reward.gains(signals, update=True).abs().amax(-1).mean() == 1


def test_paper_literal_punishes_every_level():
    """Why the draft's reward collapses: no level ever raises it."""
    reward, signals = build('paper literal'), FixedSignals(LOSSES)
    reward.gains(signals, update=True)
    gains = reward.gains(signals)
    index = torch.arange(16)
    for level in EACH:
        without = index[index & level == 0]
        assert (gains[:, without | level] <= gains[:, without]).all()


@pytest.mark.parametrize('given', [
    [8., 4., 0., -4.], dict(P5=-4, P4=0, P3=4, P2=8)])
def test_level_values_weigh_each_signal_in_its_own_unit(given):
    """Means by level are 2, 4, 6, 8; the image's are half and 1.5 of them.
    The best subset, without P5, is worth 8 + 4 = 12."""
    reward = build('residual', level_values=given)
    signals = FixedSignals(LOSSES)
    reward.gains(signals, update=True)
    expected = torch.tensor([[0.5], [1.5]]) * torch.tensor([8., 4., 0., -4.]) / 12
    torch.testing.assert_close(reward.gains(signals)[:, EACH], expected)


def test_worth_times_the_images_own_signal():
    reward = build('worth, task gap', level_values=[1., 1., 0., 0.])
    signals = FixedSignals(
        LOSSES, student_loss=torch.tensor([2., 3.]),
        teacher_loss=torch.tensor([1., 4.]))
    reward.gains(signals, update=True)
    torch.testing.assert_close(
        reward.gains(signals)[:, EACH],
        torch.tensor([[.5, .5, 0., 0.], [-.5, -.5, 0., 0.]]))


@pytest.mark.parametrize(('given', 'sentence'), [
    (dict(P2=1.), r"level_values=.*; accepted: a number for each of the levels "
                  r"\['P2', 'P3', 'P4', 'P5'\]"),
    ([1., 2.], r'level_values=\[1.0, 2.0\]; accepted: 4 numbers'),
    ([1., math.nan, 1., 1.], r'level_values\[1\]=nan; accepted: a finite number'),
    (dict(P2='x'), r"level_values\['P2'\]='x'; accepted: a finite number"),
    ([0., 0., 0., 0.], 'level_values=.*at least one is not 0'),
    (3., 'level_values=3.0; accepted: a number for each level'),
])
@pytest.mark.parametrize('name', ['ResidualReward', 'WorthReward'])
def test_bad_level_values_are_refused(name, given, sentence):
    with pytest.raises(ValueError, match=f'{name}: {sentence}'):
        build(name, level_values=given)


def test_worth_needs_values_and_a_signal():
    with pytest.raises(ValueError, match='WorthReward: level_values=None'):
        build('WorthReward', level_values=None)
    with pytest.raises(ValueError, match="WorthReward: signal=''; accepted: 'dis"):
        build('WorthReward', level_values=[1.], signal='')


# -- the worth of groups -------------------------------------------------------

GROUPS = dict(descriptor='objects', edges=[3.5, 10.5],
              worth=[[0., 0., 0., 1.], [1., 0., 0., 1.], [4., 2., 0., 2.]])


def test_an_image_has_the_worth_of_its_group():
    reward = build('GroupWorthReward', **GROUPS)
    signals = FixedSignals(
        LOSSES, objects=torch.tensor([3.5, 10.5, 11., 4., math.nan]))
    reward.gains(signals, update=True)  # groups 0, 1, 2, 1: 1, 2, 8, 2 by all levels
    gains = reward.gains(signals)[:, EACH]
    torch.testing.assert_close(
        gains[:4], torch.tensor(GROUPS['worth'])[[0, 1, 2, 1]] / 3.25)
    assert gains[4].isnan().all()


def test_worth_from_a_file_is_put_in_the_order_of_the_levels(tmp_path):
    file = tmp_path / 'worth.json'
    file.write_text(json.dumps(dict(
        GROUPS, levels=['P5', 'P4', 'P3', 'P2'],
        worth=[row[::-1] for row in GROUPS['worth']], interval=None,
        metric='coco/bbox_mAP')))
    reward = build('GroupWorthReward', file=str(file))
    same = build('GroupWorthReward', **GROUPS)
    signals = random_signals(9, 4)
    assert reward.gains(signals).equal(same.gains(signals))


@pytest.mark.parametrize(('change', 'sentence'), [
    (dict(descriptor=None), 'descriptor=None; accepted: a descriptor'),
    (dict(edges=[10.5, 3.5]), r'edges=\[10.5, 3.5\]; accepted: rising numbers'),
    (dict(edges=[3.5, math.nan]), r'edges\[1\]=nan; accepted: a finite number'),
    (dict(edges=3.5), 'edges=3.5; accepted: a list of numbers'),
    (dict(edges=[3.5]), 'worth=.*; accepted: 2 lists, one for each group'),
    (dict(worth=None), 'worth=None; accepted: 3 lists'),
    (dict(worth=[[1.], [1.], [1., 2.]]), r'worth\[2\]=\[1.0, 2.0\]; accepted: 1'),
    (dict(worth=[[1.] * 3] * 3), 'worth=.*; accepted: lists of 4 numbers'),
    (dict(worth=[[1.] * 4, 'high', [1.] * 4]), r"worth\[1\]='high'; accepted: a l"),
])
def test_bad_worths_are_refused(change, sentence):
    with pytest.raises(ValueError, match=f'GroupWorthReward: {sentence}'):
        build('GroupWorthReward', **{**GROUPS, **change})


@pytest.mark.parametrize(('content', 'sentence'), [
    ('{', r'file=.*cannot be read'),
    ('{"edges": []}', r'file=.*; accepted: a JSON file with the keys descriptor, '),
    (json.dumps(dict(GROUPS, levels=['P2', 'P3', 'P4', 'C5'])),
     r'levels=.*; accepted: the levels of the model'),
    (json.dumps(dict(GROUPS, levels='P2')), r"levels='P2'; accepted: a list"),
])
def test_bad_files_are_refused(tmp_path, content, sentence):
    file = tmp_path / 'worth.json'
    file.write_text(content)
    with pytest.raises(ValueError, match=f'GroupWorthReward: {sentence}'):
        build('GroupWorthReward', file=str(file))
    with pytest.raises(ValueError, match='cannot be read'):
        build('GroupWorthReward', file=str(tmp_path / 'none.json'))
    with pytest.raises(ValueError, match='not both'):
        build('GroupWorthReward', file=str(file), edges=[1.])
