"""Learning rates that follow the student's updates."""

from mmengine.hooks import ParamSchedulerHook

from mmrlkd.registry import HOOKS

from .distiller_hook import distiller_in


@HOOKS.register_module()
class UpdateParamSchedulerHook(ParamSchedulerHook):
    """mmengine's hook, whose schedulers count updates of the student.

    A phase with ``student_every=n`` updates the student in every n-th
    iteration. The other iterations do not move its learning rate either, nor
    do n - 1 of n epochs: ``begin``, ``end``, ``T_max`` and ``milestones``
    count updates (or epochs of updates), and a student trained in phases has,
    at each update, the learning rate that it has without phases.
    :class:`.PhaseHook` puts this hook in the place of mmengine's own.
    """

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        model = distiller_in(runner)
        if model is None or model.schedule.updates_student:
            super().after_train_iter(runner, *args, **kwargs)

    def after_train_epoch(self, runner) -> None:
        model = distiller_in(runner)
        if model is not None:
            schedule = model.schedule
            # Phases begin with an epoch: this many are over in this one.
            epochs = (schedule.iteration + 1) // len(runner.train_dataloader)
            if epochs % schedule.phase.student_every:
                return
        super().after_train_epoch(runner)
