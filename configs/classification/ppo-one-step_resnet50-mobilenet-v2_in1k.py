_base_ = ['./rl-pyramidkd_resnet50-mobilenet-v2_in1k.py', '../_base_/methods/ppo_one_step.py']
model = _base_.ppo_one_step
