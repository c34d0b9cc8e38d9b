# All levels with equal weights.
_base_ = './rl-pyramidkd_resnet50-mobilenet-v2_in1k.py'
model = dict(selector=dict(_delete_=True, type='mmrlkd.UniformSelector'))
custom_hooks = [dict(type='mmrlkd.SeedHook')]
train_cfg = dict(max_epochs=300)
