_base_ = ['./darts_faster-rcnn_r101-r50_fpn_coco.py', '../_base_/methods/darts_second_order.py']
model = _base_.darts_second_order
