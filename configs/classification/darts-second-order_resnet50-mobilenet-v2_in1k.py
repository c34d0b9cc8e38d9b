_base_ = ['./darts_resnet50-mobilenet-v2_in1k.py', '../_base_/methods/darts_second_order.py']
model = _base_.darts_second_order
