# All levels, their losses weighed by GradNorm.
_base_ = './uniform_faster-rcnn_r101-r50_fpn_coco.py'
model = dict(balancer=dict(type='mmrlkd.GradNorm', alpha=1.5, lr=1e-2, report_every=500))
