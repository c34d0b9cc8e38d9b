# The demo's teacher: the student's detector, its backbone twice as wide.
_base_ = './gfl_r18w16_fpn64.py'
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256]))
