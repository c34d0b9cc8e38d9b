# RL-PyramidKD, for a classifier that is trained for 100 epochs.
# The student is updated as often as in 100 epochs of plain training, in 164: the
# second phase updates it in every 5th iteration. Its levels are stages of the backbone,
# which must not be frozen then. The schedule lowers the learning rate by itself.
# randomness.seed is set by each config: mmpretrain's own has randomness, too.
_base_ = './ppo.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', share=0.42),
            dict(name='policy', share=0.16, freeze_backbone=False),
            dict(name='finetune', share=0.42, lr_factor=1.0),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
