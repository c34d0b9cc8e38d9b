"""What each of two processes does; see ``test_ranks.py`` beside.

    python ranks.py RANK FOLDER

reads ``RANK.in`` and writes ``RANK.out`` in the folder.
"""

import sys
from pathlib import Path

import torch

from mmrlkd.rl import meta

if __name__ == '__main__':
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    results = []
    for name, policy, tasks, settings in torch.load(
            folder / f'{rank}.in', weights_only=False):
        learner = getattr(meta, name)(policy, meta.ExactReward(), **settings)
        for _ in range(2):
            stats = learner.update(tasks)
        results.append((policy.state_dict(), vars(stats)))
    torch.save(results, folder / f'{rank}.out')
    torch.distributed.destroy_process_group()
