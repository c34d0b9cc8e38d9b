# The exact expected reward: an iteration that computes all levels knows what every
# subset would have gained, so nothing is sampled to learn from. All levels for a tenth
# of the student's updates, then the policy chooses, and learns from every tenth.
_base_ = '../_base_/distillation.py'
method = dict(
    model=dict(
        selector=dict(
            type='mmrlkd.PolicySelector',
            horizon=1,
            rollout_batches=1,
            policy=dict(type='mmrlkd.MLPPolicy'),
            reward=dict(type='mmrlkd.ResidualReward'),
            learner=dict(type='mmrlkd.ExpectedReward'))),
    custom_hooks=[
        dict(type='mmrlkd.SeedHook'),
        dict(
            type='mmrlkd.PhaseHook',
            phases=[
                dict(name='pretrain', share=0.1, learn_every=2),
                dict(name='search', share=0.9, learn_every=10),
            ]),
        dict(type='mmrlkd.PolicyHealthHook'),
    ])
