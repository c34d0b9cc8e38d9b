_base_ = ['./uniform_retinanet_r101-r50_fpn_coco.py', '../_base_/methods/gradnorm.py']
model = _base_.gradnorm
