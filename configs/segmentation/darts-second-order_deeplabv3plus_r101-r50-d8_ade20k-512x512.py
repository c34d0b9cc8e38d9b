_base_ = ['./darts_deeplabv3plus_r101-r50-d8_ade20k-512x512.py', '../_base_/methods/darts_second_order.py']
model = _base_.darts_second_order
