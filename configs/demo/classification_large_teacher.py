# A ResNet-34, three times as wide as the student's ResNet-18: it takes longer to run
# than the student to train, so that a cache of its maps pays: docs/teacher_cache.md.
_base_ = './classification_large_student.py'
model = dict(
    backbone=dict(depth=34, stem_channels=48, base_channels=48),
    head=dict(in_channels=384))
train_cfg = dict(max_iters=900, val_interval=900)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=50, end=900,
        eta_min=0),
]
