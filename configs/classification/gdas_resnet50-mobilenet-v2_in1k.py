_base_ = ['./darts_resnet50-mobilenet-v2_in1k.py', '../_base_/methods/gdas.py']
model = _base_.gdas
