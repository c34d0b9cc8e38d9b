_base_ = [
    './classification_student.py', '../methods/ppo.py', '../_base_/demo_parts.py'
]
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(
        config='mmrlkd::demo/classification_teacher.py',
        checkpoint='work_dirs/demo_classification/teacher/iter_900.pth'),
    levels=('C2', 'C3', 'C4', 'C5'), loss_weight=0.2, **_base_.method.model)
model['selector'].policy.update(_base_.parts['mmrlkd.LSTMPolicy'])
parts = {'mmrlkd.KLLoss': dict(tau=4.0)}  # few classes: soft targets
custom_hooks = _base_.method.custom_hooks
default_hooks = _base_.distillation.default_hooks
model_wrapper_cfg = _base_.distillation.model_wrapper_cfg
log_processor = _base_.distillation.log_processor
