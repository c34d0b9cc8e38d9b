# What K fixed augmentations of each image cost in quality, where a training shows an
# image ten times: K of 1 and 4, and as many as there are epochs and more. A cache of
# the teacher's maps has hits with the first two; see docs/teacher_cache.md.
version = 1
worlds = dict(
    scenes=dict(
        pair='configs/demo/study.py', student='configs/demo/study_student.py',
        data=dict(size=96, val=1000)))


#: Few images, each seen ten times, under random scale, crop and flip. Of a million
#: augmentations none is seen twice.
images = dict(
    type='mmrlkd.ScenesDataset',
    data_root='data/study/',
    ann_file='annotations/train.json',
    data_prefix=dict(img='train/'),
    filter_cfg=dict(filter_empty_gt=True),
    indices=320,
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomResize', scale=(96, 96), ratio_range=(1.0, 1.5),
             keep_ratio=True),
        dict(type='RandomCrop', crop_size=(96, 96)),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ])


def entry(method, variants, budget, name='', priority=0, **options):
    return dict(
        name=name or f'{method or "student"} K={variants or "inf"}',
        method=method, budget=budget, priority=priority,
        options={
            'train_dataloader.dataset': dict(
                _delete_=True, type='mmrlkd.FixedAugmentations',
                variants=variants or 1_000_000, dataset=images),
            **options})


# The page compares entries of one budget, here the nominal cost of all levels.
entries = [
    *(entry('uniform', variants, 7.5) for variants in (1, 4, None)),
    # Does the student mind maps that are rounded to bfloat16?
    entry('uniform', 4, 7.5, 'uniform K=4 cached', **{
        'model.teacher.cache': dict(path='work_dirs/studies/cache', size_gb=5.0)}),
    *(entry(None, variants, 0, priority=1) for variants in (1, 4, None)),
]
