# How much the policy learns, and how it chooses while it does: what learning from
# every fifth iteration in place of every tenth, and the mode in place of a sample, do
# to the quality. docs/methods/learners.md reads its results.
version = 1
worlds = dict(
    scenes=dict(
        pair='configs/demo/study.py', student='configs/demo/study_student.py',
        data=dict(size=96, val=1000)),
    cameras=dict(
        pair='configs/demo/cameras.py',
        student='configs/demo/cameras_student.py',
        data=dict(size=96, val=1000, second_camera=0.5)))

mean_cost = 2
every = 'custom_hooks.1.phases.1.learn_every'
changes = {
    'every 10th': {every: 10},
    'every 5th': {every: 5},
    'mode': {'model.selector.greedy': True},
}
entries = [
    dict(name=name, family=name, budget=mean_cost, method='worth',
         options={'model.selector.mean_cost': mean_cost, **change})
    for name, change in changes.items()]
