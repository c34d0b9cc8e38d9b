_base_ = ['mmpretrain::resnet/resnet18_8xb32_in1k.py', '../_base_/methods/rl_pyramidkd_100e.py']
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(config='mmpretrain::resnet/resnet34_8xb32_in1k.py', checkpoint='checkpoints/resnet34_8xb32_in1k.pth'),
    levels=('C2', 'C3', 'C4', 'C5'), selector=_base_.selector)
train_cfg = dict(max_epochs=100)  # the student's; the phases take 42 + 80 + 42
param_scheduler = dict(convert_to_iter_based=True)  # and count the student's updates
default_hooks = dict(checkpoint=dict(type='mmrlkd.DistillCheckpointHook'),
                     param_scheduler=dict(type='mmrlkd.UpdateParamSchedulerHook'))
log_processor = dict(mean_pattern=_base_.mean_pattern)
randomness = dict(seed=0)  # resuming draws from the same seeds
