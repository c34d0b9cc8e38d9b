# All levels with equal weights.
_base_ = './rl-pyramidkd_deeplabv3plus_r101-r50-d8_ade20k-512x512.py'
model = dict(selector=dict(_delete_=True, type='mmrlkd.UniformSelector'))
custom_hooks = [dict(type='mmrlkd.SeedHook')]
train_cfg = dict(max_iters=80000)
