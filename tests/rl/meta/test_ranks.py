"""Two ranks with some of the tasks each do what one does with all."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmrlkd.rl import meta

SCRIPT = Path(__file__).with_name('ranks.py')
SETTINGS = dict(lr=.1, steps=2, shots=2, meta_lr=.05)


@pytest.mark.slow
def test_two_ranks_equal_one(recorded, small_policy, tmp_path):
    # All images of a task are alike, so that it is no matter which are drawn.
    tasks = [recorded(images=1).take(torch.zeros(4, dtype=torch.int64))
             for _ in range(3)]
    policies = [small_policy(), small_policy()]  # rank 0's weights are taken
    names = 'MAML', 'Reptile'
    for rank, own in enumerate((tasks[:2], tasks[2:])):
        torch.save([(name, copy.deepcopy(policies[rank]), own, SETTINGS)
                    for name in names], tmp_path / f'{rank}.in')
    processes = [subprocess.Popen([sys.executable, SCRIPT, str(rank), tmp_path])
                 for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    ranks = [torch.load(tmp_path / f'{rank}.out') for rank in range(2)]
    for name, one, two in zip(names, *ranks, strict=True):
        policy = copy.deepcopy(policies[0])
        learner = getattr(meta, name)(policy, meta.ExactReward(), **SETTINGS)
        for _ in range(2):
            stats = learner.update(tasks)
        for key, weight in policy.state_dict().items():
            assert one[0][key].equal(two[0][key]), key
            torch.testing.assert_close(one[0][key], weight)
        assert stats.after < stats.before
        for key, value in vars(stats).items():
            assert one[1][key].equal(two[1][key]), key
            torch.testing.assert_close(one[1][key], value)
