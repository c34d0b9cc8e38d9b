_base_ = [
    '../_base_/models/semantic-fpn_r18w16_fpn64.py',
    '../_base_/datasets/scenes_segmentation.py',
    '../_base_/schedules/demo.py', '../_base_/runtime_segmentation.py'
]
custom_hooks = [dict(type='mmrlkd.SeedHook')]
randomness = dict(seed=0)
