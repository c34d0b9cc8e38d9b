_base_ = ['./uniform_retinanet_r101-r50_fpn_coco.py', '../_base_/methods/manual_shallow.py']
model = _base_.manual_shallow
