# The scenes with a mask for each object.
_base_ = './scenes_detection.py'
train_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='Resize', scale=(128, 128), keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs')
    ]))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
