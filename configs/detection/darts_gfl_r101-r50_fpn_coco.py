# DARTS-LS, by tools/search.py; what it finds is trained as uniform_gfl_r101-r50_fpn_coco is.
_base_ = ['./uniform_gfl_r101-r50_fpn_coco.py', '../_base_/datasets/coco_detection_search.py',
          '../_base_/schedules/coco_darts.py', '../_base_/methods/darts.py']
model = _base_.darts
train_dataloader = dict(dataset=dict(ann_file='annotations/search_train.json'))
held_out = dict(
    _base_.train_dataloader, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(_base_.train_dataloader.dataset, ann_file='annotations/search_val.json'))
val_dataloader = _base_.search_data.val_dataloader
val_evaluator = _base_.search_data.val_evaluator
search = dict(metric=_base_.candidates.metric, then='./uniform_gfl_r101-r50_fpn_coco.py')
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(type='mmrlkd.PhaseHook', phases=_base_.searching.phases),
    dict(type='mmrlkd.HeldOutHook', dataloader=held_out),
]
train_cfg = _base_.searching.train_cfg
param_scheduler = _base_.searching.param_scheduler
