# The demo's student in trainings of about a minute on one core: images of 96 px,
# made by
#     python tools/datasets/make_scenes.py data/study --size 96 --val 1000
# and judged on a thousand of them. See docs/choice.md.
_base_ = './detection_student.py'
data_root = 'data/study/'
image_size = (96, 96)
max_iters = 400

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor'))
]
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
# A batch costs as much to start as ten images: validate by many.
val_dataloader = dict(
    batch_size=50, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + 'annotations/val.json', strata=('difficulty', ))
test_evaluator = val_evaluator

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=40, end=max_iters,
        eta_min=0),
]
# Means of the log are of the iterations since its last line.
default_hooks = dict(logger=dict(interval=10))
log_processor = dict(window_size=10)
