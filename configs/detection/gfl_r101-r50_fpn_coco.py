_base_ = ['mmdet::gfl/gfl_r50_fpn_1x_coco.py', '../methods/expected_reward.py',
          '../_base_/datasets/coco_detection_search.py']
model = dict(
    _delete_=True, type='mmrlkd.PyramidDistiller', student=_base_.model,
    teacher=dict(config='mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py',
                 checkpoint='checkpoints/gfl_r101_fpn_mstrain_2x_coco.pth'),
    levels=('P3', 'P4', 'P5', 'P6', 'P7'), **_base_.method.model)
custom_hooks = _base_.get('custom_hooks', []) + _base_.method.custom_hooks
custom_imports = _base_.distillation.custom_imports
default_hooks = _base_.distillation.default_hooks
model_wrapper_cfg = _base_.distillation.model_wrapper_cfg
log_processor = _base_.distillation.log_processor
randomness = _base_.distillation.randomness
