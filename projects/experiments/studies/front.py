# Quality over mean cost in two worlds; docs/choice.md reads its results.
version = 1
worlds = dict(
    scenes=dict(
        pair='configs/demo/study.py', student='configs/demo/study_student.py',
        data=dict(size=96, val=1000)),
    cameras=dict(
        pair='configs/demo/cameras.py',
        student='configs/demo/cameras_student.py',
        data=dict(size=96, val=1000, second_camera=0.5)))

budgets = (1, 1.5, 2, 3, 4, 5.4, 7.5)
subsets = (
    'P5', 'P4', 'P3', 'P2', 'P4 P5', 'P3 P5', 'P3 P4', 'P2 P5', 'P2 P4',
    'P2 P3', 'P3 P4 P5', 'P2 P4 P5', 'P2 P3 P5', 'P2 P3 P4')

# Every entry that distils has the policy's phases: all levels to begin with.
entries = [
    dict(name='student'),
    dict(name='uniform', method='uniform'),
    *(dict(name=f'policy {b}', family='policy', budget=b, method='ppo',
           options={'model.selector.mean_cost': b}) for b in budgets),
    *(dict(name=f'shuffled {b}', family='shuffled', budget=b, method='ppo',
           options={'model.selector.mean_cost': b}, control='shuffled')
      for b in budgets[:-1]),
    *(dict(name=f'rates {b}', family='rates', budget=b, method='ppo',
           options={'model.selector.mean_cost': b}, control='rates',
           priority=1) for b in budgets[:-1]),
    *(dict(name=s.replace(' ', '+'), method='fixed_subset', phases='ppo',
           options={'model.selector.levels': s.split()}) for s in subsets),
    dict(name='greedy', method='greedy', phases='ppo', priority=1),
    dict(name='gated', method='gated', phases='ppo', priority=1),
]
