_base_ = ['mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py', '../_base_/methods/rl_pyramidkd_80k.py']
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(config='mmseg::upernet/upernet_r101_4xb4-160k_ade20k-512x512.py',
                 checkpoint='checkpoints/upernet_r101_512x512_160k_ade20k.pth'),
    levels=('C2', 'C3', 'C4', 'C5'), selector=_base_.selector)
train_cfg = dict(type='mmrlkd.SeededIterBasedTrainLoop', max_iters=80000)  # the student's; the phases take 32k + 80k + 32k
default_hooks = dict(checkpoint=dict(type='mmrlkd.DistillCheckpointHook'),
                     param_scheduler=dict(type='mmrlkd.UpdateParamSchedulerHook'))
log_processor = dict(mean_pattern=_base_.mean_pattern)
