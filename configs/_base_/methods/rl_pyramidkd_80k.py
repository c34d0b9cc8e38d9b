# RL-PyramidKD, in iterations, for segmentation.
# The student is updated as often as in 80k iterations of plain training: the second
# phase updates it in every 5th iteration. Its levels are stages of the backbone,
# which must not be frozen then. The schedule lowers the learning rate by itself.
_base_ = './ppo.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', length=32000),
            dict(name='policy', length=80000, freeze_backbone=False),
            dict(name='finetune', length=32000, lr_factor=1.0),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
randomness = dict(seed=0)  # resuming draws from the same seeds
