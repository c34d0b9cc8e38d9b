# RL-PyramidKD: PPO chooses the levels of each image, in three phases.
_base_ = './ppo.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', share=5 / 12),
            dict(name='policy', share=1 / 6),
            dict(name='finetune', share=5 / 12),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
randomness = dict(seed=0)  # resuming draws from the same seeds
