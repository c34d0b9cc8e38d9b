# The study's student on few images, each seen ten times in a training, under random
# scale, crop and flip: for what K fixed augmentations of an image cost in quality, see
# docs/teacher_cache.md. With a million of them none is seen twice.
_base_ = './study_student.py'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmrlkd.FixedAugmentations',
        variants=1_000_000,
        dataset=dict(
            type='mmrlkd.ScenesDataset',
            data_root='data/study/',
            ann_file='annotations/train.json',
            data_prefix=dict(img='train/'),
            filter_cfg=dict(filter_empty_gt=True),
            indices=320,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(
                    type='RandomResize',
                    scale=(96, 96),
                    ratio_range=(1.0, 1.5),
                    keep_ratio=True),
                dict(type='RandomCrop', crop_size=(96, 96)),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PackDetInputs')
            ])))
