_base_ = ['./rl-pyramidkd_upernet_r101-r50_ade20k-512x512.py', '../_base_/methods/ppo_one_step.py']
model = _base_.ppo_one_step
