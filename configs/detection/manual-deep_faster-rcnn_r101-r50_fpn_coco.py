_base_ = ['./uniform_faster-rcnn_r101-r50_fpn_coco.py', '../_base_/methods/manual_deep.py']
model = _base_.manual_deep
