_base_ = ['./uniform_resnet50-mobilenet-v2_in1k.py', '../_base_/methods/manual_deep.py']
model = _base_.manual_deep
