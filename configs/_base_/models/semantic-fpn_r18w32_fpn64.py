# The teacher of the segmentation demo: the student's network, its backbone twice
# as wide.
_base_ = './semantic-fpn_r18w16_fpn64.py'
model = dict(
    backbone=dict(stem_channels=32, base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256]))
