"""Two ranks with some of the episodes each do what one does with all."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('ranks.py')


@pytest.fixture
def run_ranks(tmp_path):
    """Weights and log of two processes, each after one update."""

    def run(policies, rollouts, **settings):
        for rank in range(2):
            torch.save((policies[rank], rollouts[rank], settings),
                       tmp_path / f'{rank}.in')
        processes = [subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), tmp_path])
            for rank in range(2)]
        try:
            assert [process.wait(120) for process in processes] == [0, 0]
        finally:
            for process in processes:
                process.kill()
        return [torch.load(tmp_path / f'{rank}.out', weights_only=True)
                for rank in range(2)]

    return run


def test_two_ranks_equal_one(
        build_policy, build_ppo, make_rollout, pick, twin, run_ranks):
    policies = [build_policy(), build_policy()]  # of different weights:
    alone = twin(policies[0])  # rank 0's are taken
    rollout = make_rollout(alone, episodes=11)
    rollout.rewards[2, 3] = torch.nan
    rollouts = [pick(rollout, torch.arange(8)),
                pick(rollout, torch.arange(8, 11))]
    settings = dict(epochs=3, minibatches=1)
    ranks = run_ranks(policies, rollouts, **settings)

    log = vars(build_ppo(alone, **settings).update(rollout))
    for key, weight in alone.state_dict().items():
        assert ranks[0][0][key].equal(ranks[1][0][key]), key
        torch.testing.assert_close(
            ranks[0][0][key], weight, rtol=1e-4, atol=1e-5)
    for key, value in log.items():
        assert ranks[0][1][key].equal(ranks[1][1][key]), key
        torch.testing.assert_close(
            ranks[0][1][key], value, rtol=1e-3, atol=1e-5)


def test_a_rank_with_few_episodes_keeps_no_one_waiting(
        build_policy, make_rollout, run_ranks):
    policies = [build_policy(), build_policy()]
    rollouts = [make_rollout(policies[0], 8), make_rollout(policies[0], 2)]
    ranks = run_ranks(policies, rollouts, minibatches=4)
    assert all(value.isfinite() for _, log in ranks for value in log.values())
    for key, weight in ranks[0][0].items():
        assert weight.equal(ranks[1][0][key]), key
