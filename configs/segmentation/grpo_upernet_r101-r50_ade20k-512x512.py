_base_ = ['./rl-pyramidkd_upernet_r101-r50_ade20k-512x512.py', '../_base_/methods/grpo.py']
model = _base_.grpo
