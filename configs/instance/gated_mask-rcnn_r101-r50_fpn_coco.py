_base_ = ['./uniform_mask-rcnn_r101-r50_fpn_coco.py', '../_base_/methods/gated.py']
model = _base_.gated
