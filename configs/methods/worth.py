# For detectors: the levels' long-run worth times the objects that the teacher sees in
# the image, at a mean cost. The state shows the number of annotated objects beside the
# student's maps; labels are known in training, and choosing happens in training only.
# What levels are worth was measured on configs/demo/study.py by
#     python tools/pilot.py configs/demo/study.py --descriptor objects --groups 2 \
#         --trainings 20 --iterations 200 --method worth
# in hundredths of mAP, mean over the groups; for another pair, measure its own.
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
                level_values=dict(P2=1.5, P3=-0.18, P4=0.0, P5=-0.62))),
        min_levels=0))
