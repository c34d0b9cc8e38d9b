_base_ = ['mmdet::gfl/gfl_r50_fpn_1x_coco.py', '../_base_/methods/rl_pyramidkd.py']
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(config='mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py',
                 checkpoint='checkpoints/gfl_r101_fpn_mstrain_2x_coco.pth'),
    levels=('P3', 'P4', 'P5', 'P6', 'P7'), selector=_base_.selector)
train_cfg = dict(max_epochs=24)  # the student's; the phases take 10 + 20 + 10
param_scheduler = [dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500)]
default_hooks = dict(checkpoint=dict(type='mmrlkd.DistillCheckpointHook'))
log_processor = dict(mean_pattern=_base_.mean_pattern)
