_base_ = ['./darts_upernet_r101-r50_ade20k-512x512.py', '../_base_/methods/gdas.py']
model = _base_.gdas
