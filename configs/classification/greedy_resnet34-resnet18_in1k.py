_base_ = ['./uniform_resnet34-resnet18_in1k.py', '../_base_/methods/greedy.py']
model = _base_.greedy
