"""The student alone, from a distillation config."""

from copy import deepcopy

from mmengine.config import Config


def is_distiller(cfg: Config) -> bool:
    """Whether a config's model is a distiller."""
    return str(cfg.model.get('type', '')).endswith('PyramidDistiller')


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
