_base_ = ['./rl-pyramidkd_resnet50-mobilenet-v2_in1k.py', '../_base_/methods/reinforce.py']
model = _base_.reinforce
