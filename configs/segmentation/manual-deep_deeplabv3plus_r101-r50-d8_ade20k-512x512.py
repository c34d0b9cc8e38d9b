_base_ = ['./uniform_deeplabv3plus_r101-r50-d8_ade20k-512x512.py', '../_base_/methods/manual_deep.py']
model = _base_.manual_deep
