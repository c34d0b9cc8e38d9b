# RL-PyramidKD in phases: the student is trained with all levels, then stands nearly
# still (its backbone does) while the policy learns, then trains with what the policy
# chooses. For levels of a neck: a backbone that is distilled must not be frozen.
_base_ = './ppo.py'
method = dict(
    custom_hooks=[
        dict(type='mmrlkd.SeedHook'),
        dict(
            type='mmrlkd.PhaseHook',
            phases=[
                dict(name='pretrain', share=4 / 15),
                dict(name='policy', share=1 / 15),
                # The student's schedule lowers the learning rate by itself.
                dict(name='finetune', share=10 / 15, lr_factor=1.0),
            ]),
        dict(type='mmrlkd.PolicyHealthHook'),
    ])
