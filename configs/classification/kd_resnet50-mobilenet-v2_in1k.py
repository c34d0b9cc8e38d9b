_base_ = ['./uniform_resnet50-mobilenet-v2_in1k.py', '../_base_/methods/kd.py']
model = _base_.kd
