_base_ = ['mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py', '../methods/expected_reward.py',
          '../_base_/datasets/ade20k_search.py']
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(config='mmseg::upernet/upernet_r101_4xb4-160k_ade20k-512x512.py',
                 checkpoint='checkpoints/upernet_r101_512x512_160k_ade20k.pth'),
    levels=('C2', 'C3', 'C4', 'C5'), **_base_.method.model)
custom_hooks = _base_.get('custom_hooks', []) + _base_.method.custom_hooks
train_cfg = dict(type='mmrlkd.SeededIterBasedTrainLoop')  # resumes with the same batches
custom_imports = _base_.distillation.custom_imports
default_hooks = _base_.distillation.default_hooks
model_wrapper_cfg = _base_.distillation.model_wrapper_cfg
log_processor = _base_.distillation.log_processor
randomness = _base_.distillation.randomness
