_base_ = ['./rl-pyramidkd_resnet50-mobilenet-v2_in1k.py', '../_base_/methods/ppo_quality_only.py']
model = _base_.ppo_quality_only
