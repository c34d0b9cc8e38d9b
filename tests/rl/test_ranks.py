"""Two ranks with some of the episodes each do what one does with all."""

import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch

from mmrlkd.distillation.selection.environment import SubsetTree, subset_costs
from mmrlkd.distillation.selection.mean_cost import (
    LagrangeMultiplier,
    PricedPolicy,
)
from mmrlkd.registry import LEARNERS
from mmrlkd.structures import LevelSpace

SCRIPT = Path(__file__).with_name('ranks.py')

#: One step on all episodes at a time: what one rank does with all of them.
WHOLE = [
    ('PPO', dict(epochs=3, minibatches=1)),
    ('GRPO', dict(group_size=3, epochs=3, minibatches=1)),
    ('REINFORCE', {}),
]
#: Rank 1 has three episodes, one group: too few for four minibatches, which
#: must not leave rank 0 waiting for the fourth.
SPLIT = [
    ('PPO', dict(epochs=1, minibatches=4)),
    ('GRPO', dict(group_size=3, epochs=1, minibatches=4)),
]
#: All samples at a time, and some that each rank draws of its own.
GAINS = [
    ('ExpectedReward', dict(batch_size=None, steps=6)),
    ('ExpectedReward', dict(batch_size=4, steps=6)),
]


@pytest.fixture(scope='module')
def on_two_ranks(tmp_path_factory):
    """What two processes return for what each of them is given; they wait for
    the next test."""
    folder = tmp_path_factory.mktemp('ranks')
    processes = [subprocess.Popen([sys.executable, SCRIPT, str(rank), folder])
                 for rank in range(2)]
    numbers = count()

    def give(number, rank, task):
        torch.save(task, folder / 'part')
        (folder / 'part').rename(folder / f'{number}_{rank}.in')

    def run(given):
        number = next(numbers)
        for rank, each in enumerate(given):
            give(number, rank, each)
        answers = [folder / f'{number}_{rank}.out' for rank in range(2)]
        until = time.monotonic() + 240
        while not all(answer.is_file() for answer in answers):
            assert {process.poll() for process in processes} == {None}
            assert time.monotonic() < until
            time.sleep(0.05)
        return [torch.load(answer, weights_only=True) for answer in answers]

    yield run
    last = next(numbers)
    try:
        for rank in range(2):
            give(last, rank, None)
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_two_ranks_equal_one(
        build_policy, build_learner, make_rollout, pick, twin, same,
        on_two_ranks):
    policies = [build_policy(), build_policy()]  # of different weights:
    original = policies[0]  # rank 0's are taken
    rollout = make_rollout(original, episodes=12)
    rollout.reward[2, 3] = torch.nan
    first, second = on_two_ranks(
        (policy, pick(rollout, episodes), (), WHOLE + SPLIT)
        for policy, episodes in zip(
            policies, (torch.arange(9), torch.arange(9, 12)), strict=True))

    for one, two in zip(first, second, strict=True):
        assert same(one, two)
        assert all(value.isfinite() for value in one[1].values())
    for (name, settings), (weights, log, state) in zip(WHOLE, first):
        alone = twin(original)
        learner = build_learner(name, alone, **settings)
        expected = vars(learner.update(rollout))
        for key, weight in alone.state_dict().items():
            torch.testing.assert_close(
                weights[key], weight, rtol=1e-4, atol=1e-5)
        for key, value in expected.items():
            torch.testing.assert_close(log[key], value, rtol=1e-3, atol=1e-5)
        if name == 'REINFORCE':
            torch.testing.assert_close(state['baseline'], learner.baseline)


@pytest.mark.slow
def test_two_ranks_learn_from_all_gains_at_one_price(
        build_policy, gains_of, twin, same, on_two_ranks):
    """Weights, statistics and the price of a mean cost are equal on ranks, and
    those of one that has all samples."""
    space = LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                       (2, 2, 2, 2), 8)
    tree = SubsetTree(space, 1)
    costs = subset_costs(space.costs)
    multiplier = LagrangeMultiplier(0.5, mean_cost=1.5)
    multiplier.bind(space)
    # Of different weights: rank 0's are taken.
    policies = [PricedPolicy(build_policy('MLPPolicy', 1), multiplier)
                for _ in range(2)]
    gains = gains_of(torch.randn(12, 8), torch.rand(12, 15))
    gains.gain[3, 2] = torch.nan
    others = (tree, (costs / costs[-1]).float()[tree.outcomes], multiplier)
    first, second = on_two_ranks(
        (policy, gains[part], others, GAINS) for policy, part in zip(
            policies, (slice(0, 9), slice(9, 12)), strict=True))

    for one, two in zip(first, second, strict=True):
        # The price is no part of a policy's state; it shows in what it spends.
        assert same(one, two)
        assert one[1]['dropped_episodes'] == 1
        assert all(value.isfinite() for value in one[1].values())
    alone, bound = twin((policies[0], others))
    learner = LEARNERS.build(dict(type='mmrlkd.ExpectedReward', **GAINS[0][1]))
    learner.bind(alone, *bound)
    expected = vars(learner.update(gains))
    assert alone.multiplier.price > 0
    weights, log, _ = first[0]
    for key, weight in alone.state_dict().items():
        torch.testing.assert_close(weights[key], weight, rtol=1e-4, atol=1e-5)
    for key, value in expected.items():
        torch.testing.assert_close(log[key], value, rtol=1e-3, atol=1e-5)
