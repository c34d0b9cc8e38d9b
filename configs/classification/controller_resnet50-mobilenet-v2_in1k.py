_base_ = ['./uniform_resnet50-mobilenet-v2_in1k.py', '../_base_/datasets/imagenet_search.py', '../_base_/methods/controller.py']
search = _base_.candidates
