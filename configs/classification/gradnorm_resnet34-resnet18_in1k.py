_base_ = ['./uniform_resnet34-resnet18_in1k.py', '../_base_/methods/gradnorm.py']
model = _base_.gradnorm
