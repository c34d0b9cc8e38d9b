# All levels with equal weights.
_base_ = ['./rl-pyramidkd_mask-rcnn_r101-r50_fpn_coco.py', '../_base_/schedules/coco_24e.py']
model = dict(selector=dict(_delete_=True, type='mmrlkd.UniformSelector'))
custom_hooks = [dict(type='mmrlkd.SeedHook')]
train_cfg = _base_.schedule.train_cfg
param_scheduler = _base_.schedule.param_scheduler
