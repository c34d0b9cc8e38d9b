_base_ = ['./rl-pyramidkd_resnet34-resnet18_in1k.py', '../_base_/methods/ppo_greedy.py']
model = _base_.ppo_greedy
