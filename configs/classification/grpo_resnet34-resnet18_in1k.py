_base_ = ['./rl-pyramidkd_resnet34-resnet18_in1k.py', '../_base_/methods/grpo.py']
model = _base_.grpo
