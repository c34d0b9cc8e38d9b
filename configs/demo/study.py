_base_ = [
    './study_student.py', '../methods/ppo.py', '../_base_/demo_parts.py',
    '../_base_/datasets/scenes_detection_search.py'
]
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/study_teacher.py',
        checkpoint='work_dirs/study/teacher/iter_1200.pth'),
    levels=('P2', 'P3', 'P4', 'P5'), loss_weight=0.2, **_base_.method.model)
model['selector'].policy.update(_base_.parts['mmrlkd.LSTMPolicy'])
custom_hooks = _base_.method.custom_hooks
default_hooks = _base_.distillation.default_hooks
model_wrapper_cfg = _base_.distillation.model_wrapper_cfg
log_processor = _base_.distillation.log_processor
search = dict(data=dict(val_evaluator=dict(
    ann_file=_base_.data_root + 'annotations/search_val.json')))
