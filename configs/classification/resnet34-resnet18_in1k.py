_base_ = ['mmpretrain::resnet/resnet18_8xb32_in1k.py', '../methods/expected_reward.py',
          '../_base_/datasets/imagenet_search.py']
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(config='mmpretrain::resnet/resnet34_8xb32_in1k.py',
                 checkpoint='checkpoints/resnet34_8xb32_in1k.pth'),
    levels=('C2', 'C3', 'C4', 'C5'), **_base_.method.model)
custom_hooks = _base_.get('custom_hooks', []) + _base_.method.custom_hooks
custom_imports = _base_.distillation.custom_imports
default_hooks = _base_.distillation.default_hooks
model_wrapper_cfg = _base_.distillation.model_wrapper_cfg
log_processor = _base_.distillation.log_processor
randomness = _base_.distillation.randomness
