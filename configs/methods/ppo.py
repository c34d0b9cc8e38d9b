# RL-PyramidKD, on-line: all levels for a quarter of the student's updates, then
# PPO chooses the levels of each image and learns while the student trains.
_base_ = '../_base_/distillation.py'
method = dict(
    model=dict(
        selector=dict(
            type='mmrlkd.PolicySelector',
            horizon=4,
            policy=dict(type='mmrlkd.LSTMPolicy'),
            reward=dict(type='mmrlkd.ResidualReward'),
            learner=dict(type='mmrlkd.PPO'))),
    custom_hooks=[
        dict(type='mmrlkd.SeedHook'),
        dict(
            type='mmrlkd.PhaseHook',
            phases=[
                dict(name='pretrain', share=0.25),
                dict(name='search', share=0.75),
            ]),
        dict(type='mmrlkd.PolicyHealthHook'),
    ])
