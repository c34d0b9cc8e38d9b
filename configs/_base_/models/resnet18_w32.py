# The teacher of the classification demo: the student's network, twice as wide.
_base_ = './resnet18_w16.py'
model = dict(
    backbone=dict(stem_channels=32, base_channels=32),
    head=dict(in_channels=256))
