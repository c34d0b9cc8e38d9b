# The teacher of the instance demo: the student's network, its backbone twice as
# wide.
_base_ = './mask-rcnn_r18w16_fpn64.py'
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256]))
