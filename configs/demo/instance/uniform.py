_base_ = [
    '../../_base_/models/mask-rcnn_r18w16_fpn64.py',
    '../../_base_/datasets/scenes_instance.py',
    '../../_base_/schedules/demo.py',
    '../../_base_/default_runtime.py',
    '../../_base_/methods/uniform.py'
]
custom_imports = dict(
    imports=['mmrlkd', 'projects.scenes.detection'], allow_failed_imports=False)
model = dict(
    _delete_=True,
    type='mmrlkd.PyramidDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/instance/teacher.py',
        checkpoint='work_dirs/demo_instance/teacher/iter_900.pth'),
    levels=('P2', 'P3', 'P4', 'P5'),
    selector=_base_.selector,
    loss_weight=1.0)
log_processor = dict(mean_pattern=_base_.mean_pattern)
