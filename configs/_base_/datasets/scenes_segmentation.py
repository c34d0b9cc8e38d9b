# Label maps of the scenes, made by
#     python tools/datasets/make_scenes.py data/scenes
# The background is class 0, the five classes of the objects follow; their names
# are read from the annotation file, which also tells how hard an image is.
custom_imports = dict(
    imports=['mmrlkd', 'projects.scenes.segmentation'],
    allow_failed_imports=False)
data_root = 'data/scenes/'

meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'pad_shape',
             'scale_factor', 'flip', 'flip_direction', 'reduce_zero_label')
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmrlkd.ScenesSegDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img_path='train/', seg_map_path='labels/train/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs', meta_keys=meta_keys)
        ]))
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmrlkd.ScenesSegDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img_path='val/', seg_map_path='labels/val/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs', meta_keys=meta_keys)
        ]))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmrlkd.DifficultyIoUMetric',
    ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
