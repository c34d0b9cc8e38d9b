_base_ = [
    './augmented_student.py', '../methods/uniform.py',
    '../_base_/datasets/scenes_detection_search.py'
]
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/study_teacher.py',
        checkpoint='work_dirs/study/teacher/iter_1200.pth'),
    levels=('P2', 'P3', 'P4', 'P5'), loss_weight=0.2, **_base_.method.model)
custom_hooks = _base_.method.custom_hooks
default_hooks = _base_.distillation.default_hooks
model_wrapper_cfg = _base_.distillation.model_wrapper_cfg
log_processor = _base_.distillation.log_processor
