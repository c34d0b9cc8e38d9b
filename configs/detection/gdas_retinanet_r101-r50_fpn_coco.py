_base_ = ['./darts_retinanet_r101-r50_fpn_coco.py', '../_base_/methods/gdas.py']
model = _base_.gdas
