_base_ = ['./uniform_upernet_r101-r50_ade20k-512x512.py', '../_base_/methods/random.py']
model = _base_.random
