_base_ = ['./uniform_resnet50-mobilenet-v2_in1k.py', '../_base_/datasets/imagenet_search.py', '../_base_/methods/random_search.py']
search = _base_.candidates
