# A new task trained in full: with the meta-policy of the four demo tasks, adapted in
# the run, from scratch, and with fixed subsets. All have the same phases, and may spend
# the cost of all levels. First
#     python tools/meta_train.py configs/meta/demo.py
version = 1
worlds = dict(scenes=dict(
    pair='configs/demo/study.py', student='configs/demo/study_student.py',
    data=dict(size=96, val=1000)))
entries = [
    dict(name='adapted', method='configs/meta/method.py', budget=7.5, options={
        'model.selector.init': 'work_dirs/meta/demo/meta.pth',
        'model.selector.adapt_steps': 5}),
    dict(name='scratch', method='configs/meta/method.py', budget=7.5),
    # What enumeration finds best for the reward, and what costs most.
    dict(name='P2+P3+P4', method='fixed_subset', phases='expected_reward',
         options={'model.selector.levels': ['P2', 'P3', 'P4']}),
    dict(name='uniform', method='uniform', phases='expected_reward', priority=1),
]
