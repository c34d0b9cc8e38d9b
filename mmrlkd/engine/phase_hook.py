"""The phases of RL-PyramidKD's training, in one run."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import isfinite
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop

from mmrlkd.distillation import PyramidDistiller
from mmrlkd.registry import HOOKS
from mmrlkd.structures import Phase

from .distiller_hook import DistillerHook

#: What each phase of the method does; a config may override any field.
PRESETS: dict[str, dict[str, Any]] = {
    'pretrain': dict(choose=False, learn_every=0),
    'policy': dict(student_every=5, freeze_backbone=True),
    'finetune': dict(learn_every=4, lr_factor=0.1),
    'search': dict(),  # student and selector together, step by step
}


def make_phase(name: str, length: int, **overrides) -> Phase:
    """A phase by its preset's name.

    Raises:
        ValueError: an unknown name, field or value.
    """
    if name not in PRESETS:
        raise ValueError(f'phases names {name!r}; accepted: '
                         f"{', '.join(PRESETS)}.")
    try:
        phase = Phase(name, length, **{**PRESETS[name], **overrides})
    except TypeError as error:
        raise ValueError(
            f'phases: {name!r} has a field that is not known ({error}); '
            f"accepted: {', '.join(Phase.__dataclass_fields__)}.") from error
    for field, least in (('length', 1), ('learn_every', 0),
                         ('student_every', 1)):
        value = getattr(phase, field)
        if not isinstance(value, int) or value < least:
            raise ValueError(
                f'phases: {field} of {name!r} is {value!r}; accepted: an '
                f'integer >= {least}' + (
                    ' (leave a phase out to skip it).'
                    if field == 'length' else '.'))
    if not (isfinite(phase.lr_factor) and phase.lr_factor > 0):
        raise ValueError(
            f'phases: lr_factor of {name!r} is {phase.lr_factor!r}; '
            'accepted: a number > 0.')
    return phase


@HOOKS.register_module()
class PhaseHook(DistillerHook):
    """Takes a :class:`~mmrlkd.distillation.PyramidDistiller` through phases.

    Stateless: the phase and the position in it follow from the run's epoch
    or iteration, so resuming continues in the right one. A phase's
    ``lr_factor`` multiplies the learning rates once, as it begins; the
    optimizer's state carries them on.

    Args:
        phases: one dict for each, in order: ``name`` (pretrain, policy,
            finetune, search), ``length``, and any other field of
            :class:`~mmrlkd.structures.Phase`. Lengths count epochs in an
            epoch-based run and iterations in an iteration-based one, and sum
            to the run's length.
    """

    priority = 'HIGHEST'  # before the learning rate is read for the log

    def __init__(self, phases: Sequence[dict]) -> None:
        if not phases:
            raise ValueError(
                'phases is empty; accepted: a list such as '
                "[dict(name='pretrain', length=10), …].")
        self.phases = [make_phase(**phase) for phase in phases]
        self._ends = list(accumulate(phase.length for phase in self.phases))

    def check_length(self, total: int, key: str) -> None:
        """Refuse phases that do not fill the run.

        Args:
            total: epochs or iterations of the run.
            key: config key that says so.
        """
        if self._ends[-1] != total:
            raise ValueError(
                f'phases last {self._ends[-1]} in all, but {key} is {total}; '
                'accepted: lengths that sum to it.')

    def before_train(self, runner) -> None:
        model = distiller_of(runner)
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        key = 'max_epochs' if by_epoch else 'max_iters'
        total = runner.max_epochs if by_epoch else runner.max_iters
        self.check_length(total, f'train_cfg.{key}')
        if is_model_wrapper(runner.model) and not hasattr(
                type(runner.model), 'runs_distiller'):
            raise ValueError(
                f'model_wrapper_cfg is {type(runner.model).__name__}; '
                "accepted: dict(type='mmrlkd.DistillDataParallel').")
        self._unit = (len(runner.train_dataloader) if by_epoch else 1)
        self._learning = sum(
            phase.length for phase in self.phases if _learns(phase))
        if model.selector.learns and not self._learning:
            runner.logger.warning(
                'The selector learns in none of the phases: it will choose '
                'as it was initialised.')

    def before_train_iter(self, runner, batch_idx: int,
                          data_batch=None) -> None:
        model = distiller_of(runner)
        position, inside = divmod(runner.iter, self._unit)
        number = bisect_right(self._ends, position)
        phase = self.phases[number]
        begin = self._ends[number] - phase.length
        iteration = (position - begin) * self._unit + inside
        if iteration == 0:
            runner.logger.info(f'Phase {number + 1}: {phase}')
            for group in runner.optim_wrapper.param_groups:
                group['lr'] *= phase.lr_factor
        learned = sum(p.length for p in self.phases[:number] if _learns(p))
        learned = learned * self._unit + iteration * _learns(phase)
        model.schedule.set(
            phase, iteration, learned / max(self._learning * self._unit, 1))


def _learns(phase: Phase) -> bool:
    return phase.choose and phase.learn_every > 0


def distiller_of(runner) -> PyramidDistiller:
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    if not isinstance(model, PyramidDistiller):
        raise ValueError(
            f'model is a {type(model).__name__}, which has no phases; '
            "accepted: type='mmrlkd.PyramidDistiller'.")
    return model
