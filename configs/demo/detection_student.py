_base_ = [
    '../_base_/models/gfl_r18w16_fpn64.py',
    '../_base_/datasets/scenes_detection.py',
    '../_base_/schedules/demo.py', '../_base_/default_runtime.py'
]
custom_hooks = [dict(type='mmrlkd.SeedHook')]
randomness = dict(seed=0)
