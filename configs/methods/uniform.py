# All levels with equal weights, for the whole run: the usual pyramid distillation.
_base_ = '../_base_/distillation.py'
method = dict(
    model=dict(selector=dict(type='mmrlkd.UniformSelector')),
    custom_hooks=[dict(type='mmrlkd.SeedHook')])
