"""What each of two processes does; see ``test_ranks.py`` beside.

    python ranks.py RANK FOLDER

reads ``<n>_RANK.in`` of the folder, n = 0, 1, …, and writes ``<n>_RANK.out``.
"""

import copy
import sys
import time
from itertools import count
from pathlib import Path

import torch

from mmrlkd import rl

#: Seconds without a task after which a process ends by itself.
PATIENCE = 300


def next_task(path: Path):
    until = time.monotonic() + PATIENCE
    while not path.is_file():
        if time.monotonic() > until:
            return None
        time.sleep(0.05)
    return torch.load(path, weights_only=False)


if __name__ == '__main__':
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    for number in count():
        task = next_task(folder / f'{number}_{rank}.in')
        if task is None:
            break
        original, batch, others, learners = task
        results = []
        for name, settings in learners:
            # What else a learner is bound to may be shared with the policy.
            policy, bound = copy.deepcopy((original, others))
            learner = getattr(rl, name)(**settings)
            learner.bind(policy, *bound)
            diagnostics = learner.update(batch)
            results.append((policy.state_dict(), vars(diagnostics),
                            learner.state_dict()))
        torch.save(results, folder / f'{rank}.part')
        (folder / f'{rank}.part').rename(folder / f'{number}_{rank}.out')
    torch.distributed.destroy_process_group()
