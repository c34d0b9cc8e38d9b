"""Learning rates that follow the student's updates."""

from mmengine.hooks import ParamSchedulerHook
from mmengine.model import is_model_wrapper

from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import HOOKS


@HOOKS.register_module()
class UpdateParamSchedulerHook(ParamSchedulerHook):
    """mmengine's hook, whose iteration-based schedulers count updates.

    In the policy phase most iterations do not update the student. With this
    hook they do not move its learning rate either: ``begin``, ``end`` and
    ``T_max`` of schedulers with ``by_epoch=False`` count student updates, and
    a student trained in phases sees, at each update, the learning rate that
    one trained without phases sees.
    """

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        if (not isinstance(model, PyramidDistiller)
                or model.schedule.updates_student):
            super().after_train_iter(runner, *args, **kwargs)
