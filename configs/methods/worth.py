# For detectors: the levels' long-run worth (docs/choice.md) times the objects that the
# teacher sees in the image, at a mean cost. The state shows the number of annotated
# objects beside the student's maps; labels are known in training, and choosing happens
# in training only.
_base_ = './expected_reward.py'
method = dict(
    model=dict(
        selector=dict(
            mean_cost=2.0,
            context=['objects'],
            reward=dict(
                _delete_=True,
                type='mmrlkd.WorthReward',
                signal='teacher_detections',
                level_values=dict(P2=1.0, P3=0.6, P4=0.4, P5=0.2))),
        min_levels=0))
