_base_ = [
    '../../_base_/models/semantic-fpn_r18w16_fpn64.py',
    '../../_base_/datasets/scenes_segmentation.py',
    '../../_base_/schedules/demo.py',
    '../../_base_/runtime_segmentation.py',
    '../../_base_/methods/uniform.py'
]
custom_imports = dict(
    imports=['mmrlkd', 'projects.scenes.segmentation'], allow_failed_imports=False)
model = dict(
    _delete_=True,
    type='mmrlkd.PyramidDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/segmentation/teacher.py',
        checkpoint='work_dirs/demo_segmentation/teacher/iter_900.pth'),
    levels=('P2', 'P3', 'P4', 'P5'),
    selector=_base_.selector,
    loss_weight=0.2)
log_processor = dict(mean_pattern=_base_.mean_pattern)
