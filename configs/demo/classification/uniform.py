_base_ = [
    '../../_base_/models/resnet18_w16.py',
    '../../_base_/datasets/scenes_classification.py',
    '../../_base_/schedules/demo.py',
    '../../_base_/runtime_classification.py',
    '../../_base_/methods/uniform.py'
]
model = dict(
    _delete_=True,
    type='mmrlkd.PyramidDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/classification/teacher.py',
        checkpoint='work_dirs/demo_classification/teacher/iter_900.pth'),
    levels=('C2', 'C3', 'C4', 'C5'),
    selector=_base_.selector,
    loss_weight=0.2)
log_processor = dict(mean_pattern=_base_.mean_pattern)
