# A teacher that has seen the images of the first camera only.
_base_ = './study_teacher.py'
data_root = 'data/cameras/'
train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='annotations/train_a.json'))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + 'annotations/val.json',
    strata=('camera', 'difficulty'))
test_evaluator = val_evaluator
