# RL-PyramidKD: PPO chooses the levels of each image, in three phases.
_base_ = './ppo.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', length=10),
            dict(name='policy', length=20),
            dict(name='finetune', length=10),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
randomness = dict(seed=0)  # resuming draws from the same seeds
