"""What each of two processes does; see ``test_mean_cost.py`` beside.

    python ranks.py RANK FOLDER

writes what selectors of a mean cost have come to to ``RANK.out`` in the folder.
"""

import sys
from pathlib import Path

import torch
from test_mean_cost import images, process, train

if __name__ == '__main__':
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    torch.manual_seed(rank)  # each has its own images
    results = {}
    for name in ('ExpectedReward', 'PPO'):
        selector, _ = train(1.5, 4, learner=dict(type=f'mmrlkd.{name}'))
        results[name] = selector.multiplier.run_state()
    features, worths = images(16 if rank == 0 else 4)
    selector.observe(worths, selector.select(process(features)))
    episodes = selector.storage.gather(torch.device('cpu'))
    results['episodes'] = dict(
        action=episodes.action[-1], reward=episodes.reward.sum(0))
    results['spent'] = selector._spent(episodes)
    torch.save(results, folder / f'{rank}.out')
    torch.distributed.destroy_process_group()
