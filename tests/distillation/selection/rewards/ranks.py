"""What each of two processes does; see ``test_rewards.py`` beside.

    python ranks.py RANK FOLDER

writes the reward's state to ``RANK.out`` in the folder.
"""

import sys
from pathlib import Path

import torch

from mmrlkd.registry import REWARDS
from mmrlkd.structures import LevelSpace


class Signals:

    def __init__(self, losses):
        self.losses = losses

    def discrepancy(self):
        return self.losses


if __name__ == '__main__':
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    losses = torch.arange(16.).reshape(4, 4) + 1
    reward = REWARDS.build(dict(
        type='mmrlkd.ResidualReward', level_values=[4., 3., 2., 1.]))
    reward.bind(LevelSpace(('P2', 'P3', 'P4', 'P5'), (4., 2., 1., .5), 7.5,
                           (3, ) * 4, 5, normalize='none'))
    reward.gains(Signals(losses[:3] if rank == 0 else losses[3:]), update=True)
    torch.save(reward.state_dict(), folder / f'{rank}.out')
    torch.distributed.destroy_process_group()
