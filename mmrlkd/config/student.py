"""The student alone, from a distillation config."""

from copy import deepcopy

from mmengine.config import Config, ConfigDict


def is_distiller(cfg: Config) -> bool:
    """Whether a config's model is a distiller."""
    return str((cfg.get('model') or {}).get('type', '')).endswith('PyramidDistiller')


def model_config(cfg: Config) -> ConfigDict:
    """A config's model with its data preprocessor, as the Runner builds it.

    mmpretrain keeps the preprocessor beside the model.
    """
    model = deepcopy(cfg.model)
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def student_config(cfg: Config) -> Config:
    """A config whose model is the student and whose hooks need no distiller.

    A config that distils nothing is returned as it is.
    """
    if not is_distiller(cfg):
        return cfg
    plain = deepcopy(cfg)
    plain.model = plain.model.student
    plain.custom_hooks = [
        hook for hook in plain.get('custom_hooks', [])
        if hook['type'] not in ('mmrlkd.GradNormHook', 'mmrlkd.HeldOutHook',
                                'mmrlkd.PhaseHook', 'mmrlkd.PolicyHealthHook')
    ]
    plain.pop('model_wrapper_cfg', None)
    return plain
