"""Training in phases, in one run."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import isclose, prod
from typing import Any

from mmengine.config import Config
from mmengine.hooks import ParamSchedulerHook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop

from mmrlkd.arguments import check_choice, check_integer, check_number, refuse
from mmrlkd.distillation import PyramidDistiller
from mmrlkd.distillation.schedule import teaches
from mmrlkd.registry import HOOKS
from mmrlkd.structures import Phase

from .data_parallel import DistillDataParallel
from .distiller_hook import DistillerHook, distiller_of
from .param_scheduler_hook import UpdateParamSchedulerHook
from .run_state_hook import RUN_STATE, keep_run_state
from .teacher_cache_hook import report_cache

#: Fields of the named phases; a config may override any of them.
PRESETS: dict[str, dict[str, Any]] = {
    'pretrain': dict(choose=False, learn_every=0),
    'policy': dict(student_every=5, freeze_backbone=True),
    'finetune': dict(learn_every=4, lr_factor=0.1),
    'search': dict(),  # student and selector learn together
    'plain': dict(distil=False, choose=False, learn_every=0),
}


def make_phase(name: str, share: Any = None, **overrides: Any) -> Phase:
    """A phase by its preset's name.

    Raises:
        ValueError: an unknown name, field or value.
    """
    check_choice('phases', 'name', name, PRESETS)
    owner = f'phases[{name!r}]'
    check_number(owner, 'share', share, 0, 1, open='low')
    try:
        phase = Phase(name, share, **{**PRESETS[name], **overrides})
    except TypeError as error:
        raise ValueError(
            f'{owner} has a field that is not known ({error}); accepted: '
            f"{', '.join(Phase.__dataclass_fields__)}.") from error
    check_integer(owner, 'learn_every', phase.learn_every, 0)
    check_integer(owner, 'student_every', phase.student_every, 1)
    check_number(owner, 'lr_factor', phase.lr_factor, 0, open='low')
    if not phase.distil and phase.student_every > 1:
        refuse(owner, 'student_every', phase.student_every,
               '1, as iterations without distillation (distil=False) and '
               'without an update would do nothing')
    return phase


def make_phases(configs: Sequence[dict]) -> list[Phase]:
    """The phases of a run.

    Args:
        configs: as :class:`PhaseHook` has them.

    Raises:
        ValueError: a phase that cannot work, or shares that do not sum to 1.
    """
    # All of it is checked when the hook is built: a phase may begin after days of
    # training.
    if not configs:
        raise ValueError(
            'phases is empty; accepted: a list such as '
            "[dict(name='pretrain', share=0.4), …].")
    if any('length' in config for config in configs):
        raise ValueError(_renamed(configs))
    phases = [make_phase(**config) for config in configs]
    total = sum(phase.share for phase in phases)
    if not isclose(total, 1, abs_tol=1e-3):
        raise ValueError(
            f'phases: the shares sum to {total:.4g}; accepted: shares of the '
            "student's updates that sum to 1.")
    return phases


def _renamed(configs: Sequence[dict]) -> str:
    """The message for phases of version 0.1, which had a ``length`` in the loop's
    epochs or iterations."""
    updates = [
        config.get('length', 0) / {
            **PRESETS.get(config.get('name', ''), {}), **config
        }.get('student_every', 1) for config in configs]
    total = sum(updates) or 1
    shares = ', '.join(
        f"{config.get('name')} {each / total:.4g}"
        for config, each in zip(configs, updates, strict=True))
    return (
        'phases: length is not known any more; accepted: share, of the '
        "student's updates. The same phases have the shares "
        f'{shares}, and train_cfg has max_epochs or max_iters = {total:g}, '
        'the updates of the student alone.')


def divide(total: int, phases: Sequence[Phase]) -> list[int]:
    """Divide the epochs, or iterations, of a student's schedule among phases.

    Boundaries are rounded to whole numbers; each phase has at least one.

    Args:
        total: epochs or iterations of the schedule.
        phases: their shares sum to 1.

    Raises:
        ValueError: there are more phases than ``total``.
    """
    if len(phases) > total:
        raise ValueError(
            f'phases has {len(phases)} phases for a schedule of {total}; '
            'accepted: at most one phase for each epoch (in a run by '
            'iterations, each iteration).')
    # Rounding the cumulated shares, not each one, keeps the total.
    sums = list(accumulate(phase.share for phase in phases))
    ends: list[int] = []
    for i, end in enumerate(sums):
        least = ends[-1] + 1 if ends else 1
        most = total - (len(phases) - 1 - i)
        ends.append(min(max(round(total * end / sums[-1]), least), most))
    return [end - begin for begin, end in zip([0, *ends], ends)]


def check_phases(cfg: Config, model: PyramidDistiller | None = None) -> None:
    """Refuse phases that do not fit the rest of a config.

    Args:
        cfg: of a run.
        model: built from it; None checks the levels that the config names
            instead of the model's.

    Raises:
        ValueError: there are more phases than epochs, or a phase distils into
            levels of a backbone that it freezes.
    """
    phases = phases_of(cfg)
    train_cfg = cfg.get('train_cfg') or {}
    total = train_cfg.get('max_epochs') or train_cfg.get('max_iters')
    if phases and total:
        divide(total, phases)
    if model is not None:
        check_frozen(model, phases)
    else:
        _refuse_frozen(phases, [name for name in cfg.model.get('levels') or []
                                if name.startswith('C')])


def phases_of(cfg: Config) -> list[Phase]:
    """The phases of a config's :class:`PhaseHook`; empty without one."""
    return [phase for hook in cfg.get('custom_hooks') or []
            if hook['type'] in ('mmrlkd.PhaseHook', 'PhaseHook', PhaseHook)
            for phase in make_phases(hook['phases'])]


def check_frozen(model: PyramidDistiller, phases: Sequence[Phase]) -> None:
    """Refuse to distil into a backbone that a phase freezes.

    Raises:
        ValueError: a phase does.
    """
    _refuse_frozen(phases, [level.name for level in model.levels
                            if level.in_backbone])


def _refuse_frozen(phases: Sequence[Phase], levels: Sequence[str]) -> None:
    for phase in phases:
        if levels and phase.freeze_backbone and phase.distil:
            raise ValueError(
                f"model.levels has {', '.join(levels)}, which are the "
                f"backbone's, and the phase {phase.name!r} freezes it "
                '(freeze_backbone=True): only the connectors would learn; '
                "accepted: freeze_backbone=False in that phase, or the neck's "
                "levels ('P…').")


def loop_length(cfg: Config) -> int | None:
    """Epochs, or iterations, of a config's training loop: those of ``train_cfg``,
    and more if a phase does not update the student in each iteration. None if
    ``train_cfg`` has no number."""
    # A phase that updates the student in every n-th iteration takes n times as
    # many iterations for its share of the updates.
    train_cfg = cfg.get('train_cfg') or {}
    total = train_cfg.get('max_iters') or train_cfg.get('max_epochs')
    phases = phases_of(cfg)
    return sum(lengths_of(total, phases)) if total and phases else total


def lengths_of(total: int, phases: Sequence[Phase]) -> list[int]:
    """Epochs, or iterations, of the loop in each phase.

    Args:
        total: epochs or iterations of the student's schedule.
        phases: their shares sum to 1.
    """
    return [length * phase.student_every for length, phase
            in zip(divide(total, phases), phases, strict=True)]


@HOOKS.register_module()
class PhaseHook(DistillerHook):
    """Trains a :class:`~mmrlkd.distillation.PyramidDistiller` in phases.

    ``train_cfg`` has, as without phases, the number of epochs or iterations in
    which the student is updated, and the phases share them. A phase that updates
    the student in every n-th iteration only (``student_every``) takes n times as
    many, and the loop is lengthened. Learning rates follow the updates
    (:class:`.UpdateParamSchedulerHook`), so schedules stay those of the student
    alone. Everything that counts the loop's own epochs or iterations
    (``val_interval``, hooks that switch something at an epoch) counts those of
    the longer loop; the log says where each phase begins.

    The phase is computed from the epoch and the batch in it, or from the
    iteration in a run by iterations. So if mmengine repeats an epoch on
    resuming, its phase is repeated, too. A phase's ``lr_factor`` multiplies the
    learning rates once, when the phase begins; a checkpoint keeps them in the
    optimizer's state.

    Args:
        phases: one dict for each, in order: ``name`` (pretrain, policy,
            finetune, search, plain), ``share``, and any other field of
            :class:`~mmrlkd.structures.Phase`. In an epoch-based run phases
            begin with an epoch.
    """

    priority = 'HIGHEST'  # before hooks that read the learning rate

    def __init__(self, phases: Sequence[dict]) -> None:
        self.phases = make_phases(phases)
        self._total: int | None = None  # of the student's schedule
        self._number: int | None = None  # phase of the last iteration
        #: Product of the lr_factors applied so far; None if not known.
        self._lr_factor: float | None = 1.0

    def before_run(self, runner) -> None:
        keep_run_state(runner)
        report_cache(runner)
        # Exactly mmengine's own: a user's subclass is kept.
        for i, hook in enumerate(runner.hooks):
            if type(hook) is ParamSchedulerHook:
                runner.hooks[i] = UpdateParamSchedulerHook()

    def before_train(self, runner) -> None:
        model = distiller_of(runner)
        if is_model_wrapper(runner.model) and not isinstance(
                runner.model, DistillDataParallel):
            raise ValueError(
                f'model_wrapper_cfg is {type(runner.model).__name__}; '
                "accepted: dict(type='mmrlkd.DistillDataParallel').")
        check_frozen(model, self.phases)
        loop = runner.train_loop
        self._by_epoch = isinstance(loop, EpochBasedTrainLoop)
        self._unit = len(runner.train_dataloader) if self._by_epoch else 1
        if self._total is None:
            self._total = loop.max_epochs if self._by_epoch else loop.max_iters
        lengths = lengths_of(self._total, self.phases)
        # The loops have no setter for their length. Both numbers, because a loop by
        # epochs counts its iterations, too.
        if self._by_epoch:
            loop._max_epochs = sum(lengths)
        loop._max_iters = sum(lengths) * self._unit
        self._ends = [end * self._unit for end in accumulate(lengths)]
        self._begins = [0, *self._ends[:-1]]
        self._teaches = [teaches(phase, model.selector)
                         for phase in self.phases]
        #: Iterations of phases in which the selector learns, before each phase
        #: and in all.
        self._learned = list(accumulate(
            (length * self._unit * learns for length, learns
             in zip(lengths, self._teaches, strict=True)), initial=0))
        self._log_phases(runner, lengths)
        if model.selector.learns and not any(self._teaches):
            runner.logger.warning(
                'The selector learns in none of the phases: it will choose '
                'as it was initialised.')
        if self._lr_factor is None:  # the file of an older version
            self._lr_factor = self._lr_factor_in(self._phase_at(runner.iter - 1))

    def before_train_iter(self, runner, batch_idx: int,
                          data_batch=None) -> None:
        # Not runner.iter: resuming from inside an epoch, mmengine repeats the
        # whole epoch and keeps counting iterations.
        position = (runner.epoch * self._unit + batch_idx if self._by_epoch
                    else runner.iter)
        number = self._phase_at(position)
        if number != self._number:
            self._begin_phase(runner, number)
        phase = self.phases[number]
        iteration = position - self._begins[number]
        # The policy's learning rate falls over the iterations in which it can learn,
        # not over the whole run, in whose warm-up it may not learn at all.
        learned = self._learned[number] + iteration * self._teaches[number]
        distiller_of(runner).schedule.set(
            phase, iteration, min(learned / max(self._learned[-1], 1), 1.0))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint.setdefault(RUN_STATE, {})['lr_factor'] = self._lr_factor

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        # Without the optimizer, or with load_from, the learning rates start anew.
        # mmengine tells the two apart by this attribute only.
        if runner._resume and 'optimizer' in checkpoint:
            self._lr_factor = checkpoint.get(RUN_STATE, {}).get('lr_factor')

    def _phase_at(self, position: int) -> int:
        """The phase of an iteration; the last one for all after the end."""
        return min(bisect_right(self._ends, position), len(self.phases) - 1)

    def _lr_factor_in(self, number: int) -> float:
        return prod(phase.lr_factor for phase in self.phases[:number + 1])

    def _begin_phase(self, runner, number: int) -> None:
        self._number = number
        runner.logger.info(f'Phase {number + 1}: {self.phases[number]}')
        assert self._lr_factor is not None
        # Relative to what is applied already: resumed learning rates have it.
        factor = self._lr_factor_in(number)
        if factor != self._lr_factor:
            for group in runner.optim_wrapper.param_groups:
                group['lr'] *= factor / self._lr_factor
            self._lr_factor = factor

    def _log_phases(self, runner, lengths: Sequence[int]) -> None:
        unit = 'epochs' if self._by_epoch else 'iterations'
        ends = list(accumulate(lengths))
        stretches = ', '.join(
            f'{phase.name} {end - length + 1} to {end}' for phase, length, end
            in zip(self.phases, lengths, ends, strict=True))
        runner.logger.info(
            f"The student's schedule has {self._total} {unit}, the loop "
            f'{ends[-1]}: {stretches}.')
