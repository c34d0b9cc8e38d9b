"""Two ranks with some of the episodes each do what one does with all."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('ranks.py')


@pytest.mark.slow
def test_two_ranks_equal_one(
        build_policy, build_ppo, make_rollout, pick, twin, tmp_path):
    policies = [build_policy(), build_policy()]  # of different weights:
    alone = twin(policies[0])  # rank 0's are taken
    rollout = make_rollout(alone, episodes=11)
    rollout.rewards[2, 3] = torch.nan
    whole = dict(epochs=3, minibatches=1)
    # Rank 1 has three episodes: too few for four minibatches, which must
    # not leave rank 0 waiting for the fourth.
    split = dict(epochs=1, minibatches=4)
    for rank, episodes in enumerate((torch.arange(8), torch.arange(8, 11))):
        torch.save((policies[rank], pick(rollout, episodes), [whole, split]),
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

    for (weights, log), (others, other_log) in zip(first, second, strict=True):
        assert all(weights[key].equal(others[key]) for key in weights)
        assert all(log[key].equal(other_log[key]) for key in log)
        assert all(value.isfinite() for value in log.values())
    weights, log = first[0]
    expected = vars(build_ppo(alone, **whole).update(rollout))
    for key, weight in alone.state_dict().items():
        torch.testing.assert_close(weights[key], weight, rtol=1e-4, atol=1e-5)
    for key, value in expected.items():
        torch.testing.assert_close(log[key], value, rtol=1e-3, atol=1e-5)
