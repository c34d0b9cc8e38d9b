# RL-PyramidKD, in iterations, for segmentation.
# The student is updated as often as in 80k iterations of plain training, in 144k: the
# second phase updates it in every 5th iteration. Its levels are stages of the backbone,
# which must not be frozen then. The schedule lowers the learning rate by itself.
_base_ = './ppo.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', share=0.4),
            dict(name='policy', share=0.2, freeze_backbone=False),
            dict(name='finetune', share=0.4, lr_factor=1.0),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
randomness = dict(seed=0)  # resuming draws from the same seeds
