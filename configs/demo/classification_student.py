_base_ = [
    '../_base_/models/resnet18_w16.py',
    '../_base_/datasets/scenes_classification.py',
    '../_base_/schedules/demo.py', '../_base_/runtime_classification.py'
]
custom_hooks = [dict(type='mmrlkd.SeedHook')]
randomness = dict(seed=0)
