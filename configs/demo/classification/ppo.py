_base_ = [
    '../../_base_/models/resnet18_w16.py',
    '../../_base_/datasets/scenes_classification.py',
    '../../_base_/schedules/demo.py',
    '../../_base_/runtime_classification.py',
    '../../_base_/methods/rl_pyramidkd.py'
]
model = dict(
    _delete_=True,
    type='mmrlkd.PyramidDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/classification/teacher.py',
        checkpoint='work_dirs/demo_classification/teacher/iter_900.pth'),
    levels=('C2', 'C3', 'C4', 'C5'),
    # A policy as small as the student.
    selector=dict(
        type='mmrlkd.PolicySelector',
        policy=dict(
            type='mmrlkd.LSTMPolicy', hidden=64, global_dim=128,
            level_dim=64),
        reward=dict(type='mmrlkd.ResidualReward', efficiency=0.5)),
    loss_weight=0.2)
# As in ../ppo.py: 160 + 40 + 400 = 600 updates of the student.
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', share=4 / 15),
            # Its levels are stages of the backbone, which must not freeze.
            dict(name='policy', share=1 / 15, freeze_backbone=False),
            dict(name='finetune', share=2 / 3, lr_factor=1.0),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
train_cfg = dict(val_interval=760)  # its end: the second phase adds 160 iterations
default_hooks = dict(
    param_scheduler=dict(type='mmrlkd.UpdateParamSchedulerHook'))
log_processor = dict(mean_pattern=_base_.mean_pattern)
