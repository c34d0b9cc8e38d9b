# RL-PyramidKD, on-line, at a mean cost: all levels for a tenth of the student's
# updates, then the policy chooses the levels of each image, and learns on while the
# student trains. What every subset would gain is known where all levels are computed,
# so the expected reward and its gradient are exact. A level is worth its long-run
# value (docs/choice.md) times the objects that the teacher sees in the image.
_base_ = '../_base_/distillation.py'
method = dict(
    model=dict(
        selector=dict(
            type='mmrlkd.PolicySelector',
            horizon=1,
            rollout_batches=1,
            mean_cost=2.0,
            context=['objects'],
            policy=dict(type='mmrlkd.MLPPolicy'),
            reward=dict(
                type='mmrlkd.WorthReward',
                signal='teacher_detections',
                level_values=dict(P2=1.0, P3=0.6, P4=0.4, P5=0.2)),
            learner=dict(type='mmrlkd.ExpectedReward')),
        min_levels=0),
    custom_hooks=[
        dict(type='mmrlkd.SeedHook'),
        dict(
            type='mmrlkd.PhaseHook',
            phases=[
                dict(name='pretrain', share=0.1, learn_every=2),
                dict(name='search', share=0.9, learn_every=5),
            ]),
        dict(type='mmrlkd.PolicyHealthHook'),
    ])
