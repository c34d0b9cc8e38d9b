# All levels with equal weights.
_base_ = './rl-pyramidkd_resnet34-resnet18_in1k.py'
model = dict(selector=dict(_delete_=True, type='mmrlkd.UniformSelector'))
custom_hooks = [dict(type='mmrlkd.SeedHook')]
train_cfg = dict(max_epochs=100)
