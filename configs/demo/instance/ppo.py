_base_ = [
    '../../_base_/models/mask-rcnn_r18w16_fpn64.py',
    '../../_base_/datasets/scenes_instance.py',
    '../../_base_/schedules/demo.py',
    '../../_base_/default_runtime.py',
    '../../_base_/methods/rl_pyramidkd.py'
]
custom_imports = dict(
    imports=['mmrlkd', 'projects.scenes.detection'], allow_failed_imports=False)
model = dict(
    _delete_=True,
    type='mmrlkd.PyramidDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/instance/teacher.py',
        checkpoint='work_dirs/demo_instance/teacher/iter_900.pth'),
    levels=('P2', 'P3', 'P4', 'P5'),
    # A policy as small as the student.
    selector=dict(
        type='mmrlkd.PolicySelector',
        policy=dict(
            type='mmrlkd.LSTMPolicy', hidden=64, global_dim=128,
            level_dim=64),
        reward=dict(type='mmrlkd.ResidualReward', efficiency=0.5)),
    loss_weight=1.0)
# As in ../ppo.py: 160 + 40 + 400 = 600 updates of the student.
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', length=160),
            dict(name='policy', length=200),
            dict(name='finetune', length=400, lr_factor=1.0),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
train_cfg = dict(max_iters=760, val_interval=760)
default_hooks = dict(
    param_scheduler=dict(type='mmrlkd.UpdateParamSchedulerHook'))
log_processor = dict(mean_pattern=_base_.mean_pattern)
