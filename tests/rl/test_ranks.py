"""Two ranks with some of the episodes each do what one does with all."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

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


@pytest.mark.slow
def test_two_ranks_equal_one(
        build_policy, build_learner, make_rollout, pick, twin, same,
        tmp_path):
    policies = [build_policy(), build_policy()]  # of different weights:
    original = policies[0]  # rank 0's are taken
    rollout = make_rollout(original, episodes=12)
    rollout.rewards[2, 3] = torch.nan
    for rank, episodes in enumerate((torch.arange(9), torch.arange(9, 12))):
        torch.save((policies[rank], pick(rollout, episodes), WHOLE + SPLIT),
                   tmp_path / f'{rank}.in')
    processes = [subprocess.Popen([sys.executable, SCRIPT, str(rank), tmp_path])
                 for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (torch.load(tmp_path / f'{rank}.out', weights_only=True)
                     for rank in range(2))

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
