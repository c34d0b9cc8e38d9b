# What a policy makes of each reward, at one mean cost; docs/choice.md reads its
# results. Each entry beside its shuffled control, under the schedule of its method.
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
rewards = dict(
    residual=dict(type='mmrlkd.ResidualReward'),
    alignment=dict(type='mmrlkd.AlignmentReward'),
    lookahead=dict(type='mmrlkd.LookaheadReward'),
    worth=dict(
        type='mmrlkd.WorthReward', signal='teacher_detections',
        level_values=dict(P2=1.5, P3=-0.18, P4=0.0, P5=-0.62)))
others = {
    # What a level alone adds to the student alone in front.csv, in points of mAP.
    'worth of a level alone': dict(
        type='mmrlkd.WorthReward', signal='teacher_detections',
        level_values=dict(P2=7.5, P3=3.7, P4=2.4, P5=2.5)),
    'worth to groups': dict(
        type='mmrlkd.GroupWorthReward',
        file='projects/experiments/results/pilot_objects.json')}


def entry(learner, method, reward, control=None, **rest):
    name = f'{learner}, {reward}' + (f', {control}' if control else '')
    return dict(
        name=name, family=name, budget=mean_cost, method=method,
        options={
            'model.selector.mean_cost': mean_cost,
            'model.selector.context': ['objects'], 'model.min_levels': 0,
            'model.selector.reward': dict(_delete_=True, **(rewards | others)[reward])},
        **(dict(control=control) if control else {}), **rest)


# In the cameras the residual is due to the teacher's own mistakes on half of the
# images; the others see the task, or what the teacher makes of an image.
entries = [
    *(entry('ExpectedReward', 'expected_reward', reward, control, priority=0)
      for reward in ('residual', 'alignment', 'worth', *others)
      for control in (None, 'shuffled')),
    # What costs as much without a choice, under the phases of either.
    *(dict(name=f'P3, as {method}', method='fixed_subset', phases=method, priority=0,
           options={'model.selector.levels': ['P3']})
      for method in ('expected_reward', 'ppo')),
    *(entry('PPO', 'ppo', reward, control, priority=1)
      for reward in rewards for control in (None, 'shuffled')),
    dict(name='student', priority=2),
]
