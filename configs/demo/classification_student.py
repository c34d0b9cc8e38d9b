# A ResNet-18 of quarter width: the student of the classification demo.
_base_ = [
    '../_base_/datasets/scenes_classification.py', '../_base_/schedules/demo.py',
    '../_base_/default_runtime.py'
]
default_scope = 'mmpretrain'
visualizer = dict(type='UniversalVisualizer')
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        num_classes=10,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True),
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
        num_stages=4,
        out_indices=(3, ),
        style='pytorch'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, 5)))
custom_hooks = [dict(type='mmrlkd.SeedHook')]
randomness = dict(seed=0)
