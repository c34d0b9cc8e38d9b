_base_ = ['./uniform_upernet_r101-r50_ade20k-512x512.py', '../_base_/datasets/ade20k_search.py', '../_base_/methods/evolution.py']
search = _base_.candidates
