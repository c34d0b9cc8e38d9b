"""What each of two processes does; see ``test_ranks.py`` beside.

    python ranks.py RANK FOLDER

reads ``RANK.in`` and writes ``RANK.out`` in the folder.
"""

import copy
import sys
from pathlib import Path

import torch

from mmrlkd import rl

if __name__ == '__main__':
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    original, batch, others, tasks = torch.load(
        folder / f'{rank}.in', weights_only=False)
    results = []
    for name, settings in tasks:
        # What else a learner is bound to may be shared with the policy.
        policy, bound = copy.deepcopy((original, others))
        learner = getattr(rl, name)(**settings)
        learner.bind(policy, *bound)
        diagnostics = learner.update(batch)
        results.append((policy.state_dict(), vars(diagnostics),
                        learner.state_dict()))
    torch.save(results, folder / f'{rank}.out')
    torch.distributed.destroy_process_group()
