"""The model that mmengine trains: a student looking at a teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import isfinite
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmrlkd.distillation.features.adapters import adapt, share_probe
from mmrlkd.distillation.features.levels import (
    Level,
    PyramidTap,
    StudentMaps,
    check_level_names,
    choose_levels,
)
from mmrlkd.distillation.selection.selectors import Selector
from mmrlkd.distillation.selection.signals import BatchEvidence
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.teacher.online import Teacher
from mmrlkd.distillation.weighting.balancing import Balancing, LevelTerms
from mmrlkd.distillation.weighting.guard import FiniteGuard
from mmrlkd.registry import MODELS, SELECTORS
from mmrlkd.structures import Selection

from .distillation import Distillation
from .held_out import HeldOut
from .hidden import Hidden
from .level_losses import LevelLosses
from .logits import LogitDistillation
from .passes import StudentPasses
from .report import describe
from .schedule import Schedule
from .step_effect import StepEffect
from .student_keys import adopt_student_keys


@MODELS.register_module()
class PyramidDistiller(BaseModel):
    """Distils chosen levels of a teacher's pyramid into a student.

    Everything else about it is the student: its state dict, its predictions,
    its data preprocessor. The teacher and the selector are hidden from the
    optimizer, from DDP, from EMA and from checkpoints; the connectors are
    trained with the student and are not in its state dict. What resuming
    needs beyond the student is :meth:`sidecar_state`.

    Args:
        student: config of the student, as its library knows it.
        teacher: ``config`` and ``checkpoint`` of the teacher
            (:class:`.teacher.Teacher`), and ``levels``, if they have other
            names than the student's; may be None for a student that learns
            from none.
        selector: config of the :class:`Selector`.
        levels: names of the student's levels to choose from, finest first. By
            default all outputs of its neck, or without one all stages of its
            backbone, that have a partner in the teacher.
        loss: config of the :class:`~mmrlkd.distillation.losses.LevelLoss`.
        connector: config of the :class:`~mmrlkd.distillation.connectors.Connector`.
        recipe: for some levels, by name, which levels of the teacher they
            learn from, by which loss and connector, where that differs: see
            :func:`.links.build_links`.
        balancer: config of what weighs the levels' losses against one
            another: see :class:`.balancing.Balancing`. By default their plain
            sum is minimised.
        loss_weight: weight of the distillation loss, >= 0.
        logit_loss: config of the :class:`LogitLoss` that
            every image gets besides, or alone with a ``NoneSelector``, which
            is plain knowledge distillation.
        logit_weight: its weight, >= 0.
        costs: price of each level, see :func:`.costs.price_levels`.
        budget: largest cost an image may use, in the same currency; None
            allows every level.
        max_skipped_updates: that many updates in a row skipped for a
            non-finite loss stop the run.
        probe_size: height and width, in pixels, of the image on which
            levels are found and FLOPs are counted; by default 256 or what
            both models take.
        data_preprocessor: goes to the student, for libraries that keep it
            outside the model.

    Raises:
        ValueError: for every config value that cannot work.
    """

    def __init__(self,
                 student: dict,
                 teacher: dict | None,
                 selector: dict,
                 levels: Sequence[str] | None = None,
                 loss: dict | None = None,
                 connector: dict | None = None,
                 recipe: Mapping[str, Mapping[str, Any]] | None = None,
                 balancer: dict | None = None,
                 loss_weight: float = 1.0,
                 logit_loss: dict | None = None,
                 logit_weight: float = 1.0,
                 costs: str | Mapping[str, float] = 'nominal',
                 budget: float | None = None,
                 max_skipped_updates: int = 10,
                 probe_size: int | None = None,
                 data_preprocessor: dict | None = None) -> None:
        super().__init__()
        names = None if levels is None else check_level_names(levels)
        for key, weight in (('loss_weight', loss_weight),
                            ('logit_weight', logit_weight)):
            if not (isfinite(weight) and weight >= 0):
                raise ValueError(f'{key}={weight}; accepted: a number >= 0.')
        student = dict(student)
        if data_preprocessor is not None:
            student.setdefault('data_preprocessor', data_preprocessor)
        self.student = MODELS.build(student)
        self.data_preprocessor = self.student.data_preprocessor
        self.loss_weight = loss_weight
        self.logit_weight = logit_weight
        self._adapter = adapt(self.student, 'student')
        self.held_out = HeldOut()
        self.guard = FiniteGuard(self.student, max_skipped_updates)
        self._report: dict[str, Tensor] = {}

        chosen = SELECTORS.build(selector)
        self._selector = Hidden(chosen)
        #: Set before each iteration, see :meth:`.schedule.Schedule.set`.
        self.schedule = Schedule(self._adapter, self._selector)
        self.levels: tuple[Level, ...] = ()
        self._teacher: Hidden | None = None
        self._distillation: Distillation | None = None
        self._logits: LogitDistillation | None = None
        if chosen.uses_teacher or logit_loss is not None:
            if teacher is None:
                raise ValueError(
                    f'teacher is None, but {type(chosen).__name__} '
                    'or logit_loss distils; accepted: '
                    'dict(config=…, checkpoint=…).')
            built = Teacher(**teacher)
            built.check_fits(self._adapter)
            share_probe([self._adapter, built.adapter], probe_size)
            self._teacher = Hidden(built)
            if logit_loss is not None:
                self._logits = LogitDistillation(
                    self._adapter, built.adapter, logit_loss)
        if chosen.uses_teacher:
            self.levels = built.align(
                choose_levels(self._adapter, names), names)
            self._distillation = Distillation(
                self._adapter, self.levels, built,
                loss or dict(type='mmrlkd.MSELoss'),
                connector or dict(type='mmrlkd.ConvConnector'),
                recipe or {}, costs, budget)
            chosen.bind(self.distillation.space)
        self._tap = PyramidTap(self._adapter, self.levels)
        self._passes = StudentPasses(self._adapter, self._tap)
        self._balancing: Balancing | None = None
        self._terms: LevelTerms | None = None
        if balancer is not None:
            self.balance(balancer)
        self.register_load_state_dict_pre_hook(adopt_student_keys)

    @property
    def teacher(self) -> Teacher | None:
        """The frozen teacher, if there is one to learn from."""
        return None if self._teacher is None else self._teacher.module

    @property
    def distils(self) -> bool:
        """Whether levels of the teacher's pyramid are learnt from."""
        return self._distillation is not None

    @property
    def distillation(self) -> Distillation:
        """All that stands between the pyramids, if it distils levels."""
        assert self._distillation is not None, 'no levels are distilled'
        return self._distillation

    @property
    def logit_distillation(self) -> LogitDistillation | None:
        """The term of the logits, if there is one."""
        return self._logits

    @property
    def selector(self) -> Selector:
        """What chooses the levels."""
        return self._selector.module

    @property
    def balancing(self) -> Balancing | None:
        """What weighs the levels' losses, if anything does."""
        return self._balancing

    @property
    def detector(self) -> nn.Module:
        """The student, by the name under which mmdet's hooks look for what a
        wrapper wraps."""
        return self.student

    def balance(self, balancer: dict) -> None:
        """Weigh the levels' losses from now on.

        Args:
            balancer: see :class:`.balancing.Balancing`.

        Raises:
            ValueError: it does not fit, or there is one already.
        """
        if not self.distils:
            raise ValueError(
                f"balancer is a {balancer.get('type')}, but "
                f'{type(self.selector).__name__} distils nothing that could '
                'be balanced; accepted: None.')
        if self._balancing is not None:
            raise ValueError(
                f"balancer is a {balancer.get('type')} beside the "
                f'{type(self._balancing.balancer).__name__} that there is '
                'already; accepted: model.balancer or a hook in custom_hooks '
                'that brings one, once.')
        self._balancing = Balancing(balancer, self._adapter, self.levels)

    @property
    def search_images(self) -> int:
        """Images that went through the student of a search so far, on all
        ranks: those it trained on, from the run's first iteration, and those
        of the passes that only the search needed. 0 where nothing is searched
        on held-out images."""
        return self._passes.images

    def train(self, mode: bool = True) -> 'PyramidDistiller':
        """Train or evaluate; a frozen backbone keeps its statistics."""
        super().train(mode)
        self.selector.train(mode)
        if mode:
            self.schedule.hold_still()
        return self

    # -- one iteration -----------------------------------------------------

    def train_step(self, data: Any,
                   optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One iteration: see :meth:`run_step`."""
        return self.run_step(self, data, optim_wrapper)

    def run_step(self, runnable: nn.Module, data: Any,
                 optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Run the student, distil, update what this iteration updates.

        Args:
            runnable: this model, or the wrapper that synchronises it.
            data: a batch from the data loader.
            optim_wrapper: of the student and the connectors.

        Returns:
            Scalars for the log.
        """
        updates = self.schedule.updates_student
        if not updates:
            runnable = self  # no backward: nothing to synchronise
        self._optimizer = optim_wrapper.optimizer
        self.guard.remember()
        with optim_wrapper.optim_context(runnable):
            data = self.data_preprocessor(data, True)
            losses = runnable._run_forward(data, mode='loss')
        scalars: dict[str, Tensor] = {}
        if updates:
            if self._balancing is not None:
                losses |= self._balanced(losses, optim_wrapper)
            total, scalars = self.parse_losses(losses)
            self.guard.update(optim_wrapper, total)
        else:
            self.guard.restore()
        scalars.update(self._report)
        scalars['updates_student'] = torch.tensor(float(updates))
        scalars['skipped_updates'] = torch.tensor(float(self.guard.skipped))
        if self.selector.needs_held_out:
            self._passes.count(len(data['inputs']))
            scalars['search_images'] = torch.tensor(float(self.search_images))
        if self.schedule.learns:
            diagnostics = self.selector.learn()
            if diagnostics is not None:
                scalars.update({
                    f'policy/{field.name}': getattr(diagnostics, field.name)
                    for field in fields(diagnostics)
                })
        return scalars

    def forward(self, inputs: Tensor, data_samples: list | None = None,
                mode: str = 'tensor') -> Any:
        """What the student's ``forward`` does; ``'loss'`` also distils."""
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        return self.student(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Task losses and the distillation loss of a batch.

        The heads run only if a gradient is wanted from them.

        Args:
            inputs: (B, 3, H, W), preprocessed.
            data_samples: the library's annotations, one for each image.
        """
        pyramid = self._look(inputs)
        if not self.distils:
            self._report = {}
            with self._tap.recording():
                task = self._task_losses(inputs, data_samples)
            return task | self._logit_loss(
                self._tap.take(), pyramid, data_samples)
        assert pyramid is not None
        part = self.distillation
        updates, learns = self.schedule.updates_student, self.schedule.learns
        needs_gradients = learns and self.selector.needs_gradients
        needs_graph = updates or needs_gradients
        with (torch.set_grad_enabled(needs_graph),
              self._tap.recording(leaves=needs_gradients)):
            if needs_graph:
                task = self._task_losses(inputs, data_samples)
            else:
                task = {}  # the selector asks for the pyramid only
                self._adapter.extract(inputs)
        maps = self._tap.take()
        losses = part.compare(maps.levels, pyramid, updates,
                              part.boxes(inputs, data_samples))
        selection = part.select(self.schedule.chooser, maps, losses)
        losses.require(selection.levels)
        terms = losses.terms(selection.weights)
        per_level = torch.stack(terms)
        if self._balancing is not None and updates:
            self._terms = LevelTerms(
                [self.loss_weight * term for term in terms],
                selection.weights.mean(dim=0), losses.required)
        # What is looked at beyond the selection is looked at to learn from
        # it; where nothing is learned, to select.
        selected = losses.required_work if learns else losses.work
        if learns:
            losses.survey()  # or levels not selected would lose their unit
            self.selector.observe(BatchEvidence(
                losses, maps, self.levels, self._adapter, part.scale,
                self.parse_losses(task)[0] if needs_gradients else None,
                self._step_effect(losses, inputs, data_samples, selection)
                if self.selector.needs_held_out else None))
        part.track(losses)
        self._report = describe(part, selection, per_level, selected, losses)
        if learns:
            self._report |= self.selector.report()
            self._report['policy_progress'] = torch.tensor(
                self.schedule.progress)
        distilled = {'loss_distill': self.loss_weight * per_level.sum()}
        if updates:
            distilled |= self._logit_loss(maps, pyramid, data_samples)
        return task | distilled

    def _task_losses(self, images: Tensor, samples: list) -> dict[str, Tensor]:
        """The student's own; none of the name that the log has for the sum."""
        losses = self.student.loss(images, samples)
        return {'loss_task' if key == 'loss' else key: value
                for key, value in losses.items()}

    def _look(self, images: Tensor) -> LazyPyramid | None:
        """The teacher's pyramid of ``images`` (B, 3, H, W).

        Its backbone, which every level needs, runs at once: before the
        student's forward pass has filled the memory with its graph.
        """
        if self.teacher is None:
            return None
        pyramid = self.teacher.look(images)
        pyramid.begin()
        return pyramid

    def _logit_loss(self, maps: StudentMaps, pyramid: LazyPyramid | None,
                    samples: list) -> dict[str, Tensor]:
        if self._logits is None or pyramid is None or maps.logits is None:
            return {}
        loss = self._logits(maps.logits, pyramid.logits(), samples)
        self._report['distill/logits'] = loss.detach()
        self._report['logit_gflops'] = torch.tensor(self._logits.gflops)
        return {'loss_logits': self.logit_weight * loss}

    def _balanced(self, losses: dict[str, Tensor],
                  optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """The losses that balancing changes. Weights stand still while the
        backbone is frozen: what is shared then is not what training shares.
        """
        assert self._balancing is not None and self._terms is not None
        terms, self._terms = self._terms, None
        task = {key: value for key, value in losses.items()
                if key != 'loss_distill'}
        balanced = self._balancing.combine(
            terms, self.parse_losses(task)[0], optim_wrapper,
            look=not self.schedule.phase.freeze_backbone)
        self._report.update(self._balancing.report)
        return balanced

    @torch.no_grad()
    def choose(self, inputs: Tensor, data_samples: list) -> Selection:
        """What the selector chooses for images; runs no head, trains nothing.

        Args:
            inputs: (B, 3, H, W), preprocessed.
            data_samples: the annotations, one for each image.
        """
        pyramid = self._look(inputs)
        assert pyramid is not None, 'no levels are distilled'
        with self._tap.recording():
            self._adapter.extract(inputs)
        maps = self._tap.take()
        part = self.distillation
        return part.select(self.schedule.chooser, maps, part.compare(
            maps.levels, pyramid, False, part.boxes(inputs, data_samples)))

    def _step_effect(self, losses: LevelLosses, inputs: Tensor,
                     data_samples: list, selection: Selection) -> StepEffect:
        return StepEffect(
            self._passes, losses, inputs, data_samples,
            self.loss_weight * selection.weights, self.held_out.take(),
            self.data_preprocessor, self._optimizer)

    def val_step(self, data: Any) -> list:
        """The student's predictions."""
        return self.student.val_step(data)

    def test_step(self, data: Any) -> list:
        """The student's predictions."""
        return self.student.test_step(data)

    # -- building, moving, saving ------------------------------------------

    def init_weights(self) -> None:
        """Initialise the student as its own config says.

        Raises:
            ValueError: the teacher has no weights, or the selector no
                held-out images to learn from.
        """
        if self.selector.needs_held_out:
            self.held_out.require(type(self.selector).__name__)
        if self.teacher is not None:
            self.teacher.require_weights()
        self.student.init_weights()

    def _apply(self, fn, recurse: bool = True) -> 'PyramidDistiller':
        self.selector._apply(fn, recurse)
        if self.teacher is not None:
            self.teacher._apply(fn, recurse)
        if self._balancing is not None:
            self._balancing.balancer._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def state_dict(self, *args, destination=None, prefix: str = '',
                   keep_vars: bool = False) -> dict[str, Any]:
        """The student's state dict, with the student's keys."""
        return self.student.state_dict(
            *args, destination=destination, prefix=prefix,
            keep_vars=keep_vars)

    def sidecar_state(self) -> dict[str, Any]:
        """What resuming needs beyond the student: plain tensors and numbers.

        All of it is equal on all ranks; what is not is the selector's
        ``local_state``.
        """
        state: dict[str, Any] = {
            'skipped': self.guard.skipped,
            'skipped_in_a_row': self.guard.in_a_row,
            'selector': self.selector.sidecar_state(),
            'held_out_batches': self.held_out.given,
            'search_images': self.search_images,
        }
        if self.distils:
            state['links'] = self.distillation.links.state_dict()
            state['running_mean'] = self.distillation.running_mean
        if self._balancing is not None:
            state['balancing'] = self._balancing.state_dict()
        return state

    def load_sidecar_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`sidecar_state` gave.

        Raises:
            ValueError: this model balances and the saved one did not.
        """
        self.guard.skipped = state['skipped']
        self.guard.in_a_row = state['skipped_in_a_row']
        self.selector.load_sidecar_state(state['selector'])
        self.held_out.given = state['held_out_batches']
        self._passes.images = state['search_images']
        if self.distils:
            self.distillation.links.load_state_dict(state['links'])
            self.distillation.running_mean.copy_(state['running_mean'])
        if self._balancing is not None:
            if 'balancing' not in state:
                raise ValueError(
                    f'balancer is a {type(self._balancing.balancer).__name__}'
                    ', but the run to be resumed had none; accepted: the '
                    'balancer that the run was started with.')
            self._balancing.load_state_dict(state['balancing'])
