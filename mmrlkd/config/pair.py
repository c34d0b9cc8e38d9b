"""The model config of a pair, from the names of two configs."""

from collections.abc import Sequence

from mmengine.config import ConfigDict

from mmrlkd.distillation.teacher.online import read_model_config


def pair_model(student: str, teacher: str,
               levels: Sequence[str] | None = None) -> ConfigDict:
    """The ``model`` of a config that distils one model into another by PPO.

    Args:
        student: path of a config, or ``'mmdet::…'`` for one that a library
            ships.
        teacher: likewise. Its weights stay random, so that the model can be
            inspected but not trained.
        levels: of the student; None for all that both have.

    Raises:
        ValueError: a config cannot be read or has no model.
    """
    return ConfigDict(
        type='mmrlkd.PyramidDistiller',
        student=read_model_config(student, 'student'),
        teacher=dict(
            config=read_model_config(teacher, 'teacher'), checkpoint=None),
        levels=levels,
        selector=dict(type='mmrlkd.PolicySelector'))
