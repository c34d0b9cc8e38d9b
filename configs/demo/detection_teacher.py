_base_ = [
    '../_base_/models/gfl_r18w32_fpn64.py',
    '../_base_/datasets/scenes_detection.py',
    '../_base_/schedules/demo.py', '../_base_/default_runtime.py'
]
train_cfg = dict(max_iters=900, val_interval=900)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=50, end=900,
        eta_min=0),
]
custom_hooks = [dict(type='mmrlkd.SeedHook')]
randomness = dict(seed=0)
