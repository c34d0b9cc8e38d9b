_base_ = ['./uniform_faster-rcnn_r101-r50_fpn_coco.py', '../_base_/methods/random.py']
model = _base_.random
