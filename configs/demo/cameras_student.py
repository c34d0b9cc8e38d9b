# Half of the images come from a second camera: negatives with a colour cast and
# some noise. Made by
#     python tools/datasets/make_scenes.py data/cameras --size 96 --val 1000 \
#         --second-camera 0.5
# The student learns both cameras and is judged on both.
_base_ = './study_student.py'
data_root = 'data/cameras/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + 'annotations/val.json',
    strata=('camera', 'difficulty'))
test_evaluator = val_evaluator
