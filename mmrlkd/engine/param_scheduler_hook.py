"""Learning rates that follow the student's updates."""

from mmengine.hooks import ParamSchedulerHook

from mmrlkd.registry import HOOKS

from .distiller_hook import distiller_in


@HOOKS.register_module()
class UpdateParamSchedulerHook(ParamSchedulerHook):
    """mmengine's hook, but schedulers step with the student's updates.

    A phase with ``student_every=n`` updates the student in every n-th iteration.
    Only these iterations, and every n-th epoch, step the schedulers: ``begin``,
    ``end``, ``T_max`` and ``milestones`` count updates (or epochs of updates).
    So a student trained in phases has at each update the learning rate that it
    would have without phases. :class:`.PhaseHook` replaces mmengine's hook by
    this one.
    """

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        model = distiller_in(runner)
        if model is None or model.schedule.updates_student:
            super().after_train_iter(runner, *args, **kwargs)

    def after_train_epoch(self, runner) -> None:
        model = distiller_in(runner)
        if model is not None:
            schedule = model.schedule
            # Epochs of this phase that are over; a phase begins with an epoch.
            epochs = (schedule.iteration + 1) // len(runner.train_dataloader)
            if epochs % schedule.phase.student_every:
                return
        super().after_train_epoch(runner)
