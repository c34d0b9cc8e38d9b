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
#: What is trained first, with all seeds: two budgets, and then what costs no more.
first_budgets = (1.5, 2)
priority_of = {'P3': 0, 'P4': 1, 'P4 P5': 1, 'P5': 1}


def at(family, budget, control=None, priority=None):
    if priority is None:
        priority = 0 if budget in first_budgets else 2
    return dict(
        name=f'{family} {budget}', family=family, budget=budget,
        method='worth', options={'model.selector.mean_cost': budget},
        priority=priority, **(dict(control=control) if control else {}))


# Every entry that distils has the policy's phases: all levels to begin with.
entries = [
    *(at('policy', b) for b in budgets),
    *(at('shuffled', b, 'shuffled') for b in budgets[:-1]),
    *(dict(name=s.replace(' ', '+'), method='fixed_subset', phases='worth',
           options={'model.selector.levels': s.split()},
           priority=priority_of.get(s, 2)) for s in subsets),
    dict(name='uniform', method='uniform', phases='worth', priority=1),
    dict(name='student', priority=2),
    *(at('opposite', b, 'opposite', 3) for b in first_budgets),
    *(at('rates', b, 'rates', 3) for b in budgets[:-1]),
    dict(name='by objects', family='by_objects', method='by_objects',
         phases='worth', budget=1.5, priority=3),
    # As the policy chooses: the finest level, or none.
    dict(name='by objects, or none', family='by_objects', method='by_objects',
         phases='worth', budget=1, priority=3,
         options={'model.selector.rates': [[0, 0, 0, 0], [1, 0, 0, 0]],
                  'model.min_levels': 0}),
    # What these two spend is not asked for, but follows from λ, or is limited by image.
    *(dict(name=f'greedy, λ = {efficiency:g}' if efficiency != 0.5 else 'greedy',
           family='greedy', method='greedy', phases='worth', priority=3,
           options=({} if efficiency == 0.5 else
                    {'model.selector.efficiency': efficiency}))
      for efficiency in (0.5, 1, 1.5)),
    *(dict(name='gated' if limit is None else f'gated, at most {limit}',
           family='gated', method='gated', phases='worth', priority=3,
           options={} if limit is None else {'model.budget': limit})
      for limit in (None, 4, 2)),
]
