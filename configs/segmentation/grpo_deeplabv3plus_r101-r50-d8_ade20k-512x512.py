_base_ = ['./rl-pyramidkd_deeplabv3plus_r101-r50-d8_ade20k-512x512.py', '../_base_/methods/grpo.py']
model = _base_.grpo
