_base_ = './classification.py'
data_root = 'data/scenes_10_large/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
model = dict(teacher=dict(
    config='mmrlkd::demo/classification_large_teacher.py',
    checkpoint='work_dirs/demo_classification_large/teacher/iter_900.pth'))
