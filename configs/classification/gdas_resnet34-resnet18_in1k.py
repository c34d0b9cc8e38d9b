_base_ = ['./darts_resnet34-resnet18_in1k.py', '../_base_/methods/gdas.py']
model = _base_.gdas
