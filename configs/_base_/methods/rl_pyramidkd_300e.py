# RL-PyramidKD, for a classifier that is trained for 300 epochs.
# The student is updated as often as in 300 epochs of plain training, in 500: the
# second phase updates it in every 5th iteration. Its levels are stages of the backbone,
# which must not be frozen then. The schedule lowers the learning rate by itself.
# randomness.seed is set by each config: mmpretrain's own has randomness, too.
_base_ = './ppo.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', share=5 / 12),
            dict(name='policy', share=1 / 6, freeze_backbone=False),
            dict(name='finetune', share=5 / 12, lr_factor=1.0),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
