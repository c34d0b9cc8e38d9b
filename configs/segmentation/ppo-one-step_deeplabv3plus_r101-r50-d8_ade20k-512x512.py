_base_ = ['./rl-pyramidkd_deeplabv3plus_r101-r50-d8_ade20k-512x512.py', '../_base_/methods/ppo_one_step.py']
model = _base_.ppo_one_step
