"""The model that mmengine trains: a student that learns from a teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmrlkd.arguments import check_choice, check_integer, check_number
from mmrlkd.distillation.features.adapters import adapt, share_probe
from mmrlkd.distillation.features.levels import (
    Level,
    PyramidTap,
    check_level_names,
    choose_levels,
    frozen_levels,
)
from mmrlkd.distillation.selection.selectors import Selector
from mmrlkd.distillation.teacher.online import Teacher
from mmrlkd.distillation.weighting.balancing import Balancing
from mmrlkd.distillation.weighting.finite_check import FiniteCheck
from mmrlkd.registry import MODELS, SELECTORS
from mmrlkd.structures import Selection

from .distillation import Distillation
from .evaluation import evaluate_choice, evaluate_losses
from .functional import FunctionalStudent
from .held_out import HeldOut
from .logits import LogitDistillation
from .resuming import check_run_state, load_run_state, run_state
from .schedule import Schedule, StepPlan
from .settings import flatten
from .step import StepOutput, distil, run_step
from .step_effect import SearchInputs
from .student_keys import adopt_student_keys
from .unregistered import UnregisteredModule


@MODELS.register_module()
class PyramidDistiller(BaseModel):
    """Distils chosen levels of a teacher's pyramid into a student.

    Otherwise it behaves as the student: state dict, predictions and data
    preprocessor are the student's. Optimizer, DDP, EMA and checkpoints do not
    see the teacher and the selector. The connectors are trained with the student
    but are not in the state dict. :meth:`run_state` has what resuming needs
    beyond the student.

    Args:
        student: config of the student, as its library knows it.
        teacher: ``config`` and ``checkpoint`` of the teacher
            (:class:`.teacher.Teacher`), and ``levels``, if they have other
            names than the student's; may be None if nothing is distilled.
        selector: config of the :class:`Selector`.
        levels: names of the student's levels to choose from, finest first. By
            default all outputs of its neck, or without one all stages of its
            backbone, that have a partner in the teacher.
        loss: config of the :class:`~mmrlkd.distillation.losses.LevelLoss`.
        connector: config of the :class:`~mmrlkd.distillation.connectors.Connector`.
        recipe: for some levels, by name, which levels of the teacher they
            learn from, by which loss and connector, if not the default: see
            :func:`.pairs.build_links`.
        balancer: config of the :class:`Balancer` of the levels' losses, see
            :class:`.balancing.Balancing`. By default their plain sum is
            minimised.
        loss_weight: weight of the distillation loss, >= 0.
        logit_loss: config of the :class:`LogitLoss` that is added for every
            image; with a ``NoneSelector`` this is plain knowledge distillation.
        logit_weight: its weight, >= 0.
        costs: price of each level, see :func:`.costs.price_levels`.
        budget: largest cost an image may use, in the same currency; None
            allows every level.
        min_levels: smallest number of levels of an image: 1, or 0 if a selector
            may leave an image out.
        normalize: weights of the selected levels, see
            :class:`~mmrlkd.structures.LevelSpace`.
        max_skipped_updates: that many updates in a row skipped for a
            non-finite loss stop the run.
        probe_size: height and width, in pixels, of the image on which
            levels are found and FLOPs are counted; by default 256, or another
            size that both models take.
        data_preprocessor: goes to the student, for libraries that keep it
            outside the model.

    Raises:
        ValueError: an argument is impossible or does not fit the models.
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
                 min_levels: int = 1,
                 normalize: str = 'image',
                 max_skipped_updates: int = 10,
                 probe_size: int | None = None,
                 data_preprocessor: dict | None = None) -> None:
        super().__init__()
        names = None if levels is None else check_level_names(levels)
        for key, weight in (('loss_weight', loss_weight),
                            ('logit_weight', logit_weight)):
            check_number('model', key, weight, 0)
        check_integer('model', 'min_levels', min_levels, 0, 1)
        check_choice('model', 'normalize', normalize, ('image', 'none'))
        loss = loss or dict(type='mmrlkd.MSELoss')
        connector = connector or dict(type='mmrlkd.ConvConnector')
        student = dict(student)
        if data_preprocessor is not None:
            student.setdefault('data_preprocessor', data_preprocessor)
        self.student = MODELS.build(student)
        self.data_preprocessor = self.student.data_preprocessor
        self.loss_weight = loss_weight
        self.logit_weight = logit_weight
        # All that differs between task libraries is in the adapters.
        self.adapter = adapt(self.student, 'student')
        self.held_out = HeldOut()
        self.finite_check = FiniteCheck(self.student, max_skipped_updates)
        #: Set by RunStateHook, which keeps :meth:`run_state` in checkpoints.
        self.keeps_run_state = False

        # Teacher and selector are not registered: otherwise the student's
        # optimizer would train the policy, and checkpoints hold the teacher.
        # What a policy draws for its weights must not move what connectors draw:
        # runs of one seed are compared.
        with torch.random.fork_rng(devices=[]):
            chosen = SELECTORS.build(selector)
        self._selector = UnregisteredModule(chosen)
        #: Set before each iteration, see :meth:`.schedule.Schedule.set`.
        self.schedule = Schedule(self.adapter, self._selector)
        self.levels: tuple[Level, ...] = ()
        self._teacher: UnregisteredModule | None = None
        self._distillation: Distillation | None = None
        self._logits: LogitDistillation | None = None
        if chosen.uses_teacher or logit_loss is not None:
            if teacher is None:
                raise ValueError(
                    f'teacher is None, but {type(chosen).__name__} '
                    'or logit_loss distils; accepted: '
                    'dict(config=…, checkpoint=…).')
            built = Teacher(**teacher)
            built.check_fits(self.adapter)
            # One image for both: levels are paired by the sizes of their maps.
            share_probe([self.adapter, built.adapter], probe_size)
            self._teacher = UnregisteredModule(built)
            if logit_loss is not None:
                self._logits = LogitDistillation(
                    self.adapter, built.adapter, logit_loss)
        if chosen.uses_teacher:
            self.levels = built.align(
                choose_levels(self.adapter, names), names)
            self._distillation = Distillation(
                self.adapter, self.levels, built,
                loss, connector, recipe or {}, costs, budget, min_levels, normalize,
                chosen.context, chosen.descriptors)
            # Only now costs and widths of the levels are known.
            chosen.bind(self.distillation.space)
        if self.teacher is not None:
            # At last: levels were found and FLOPs counted on the model as built.
            self.teacher.prepare(head=self._logits is not None or (
                self.distils and self.distillation.describer.needs_teacher_head))
        #: What must not change when the run is resumed, see :mod:`.settings`.
        self.settings = flatten(dict(
            levels=[level.name for level in self.levels], loss=loss,
            connector=connector, recipe=recipe, selector=selector), 'model')
        self.tap = PyramidTap(self.adapter, self.levels)
        self.functional = FunctionalStudent(self.adapter, self.tap)
        self._balancing: Balancing | None = None
        if balancer is not None:
            self.balance(balancer)
        self.register_load_state_dict_pre_hook(adopt_student_keys)

    @property
    def teacher(self) -> Teacher | None:
        """The frozen teacher; None if nothing is distilled."""
        return None if self._teacher is None else self._teacher.module

    @property
    def distils(self) -> bool:
        """Whether levels of the teacher's pyramid are learnt from."""
        return self._distillation is not None

    @property
    def distillation(self) -> Distillation:
        """Links, losses and costs of the levels, if levels are distilled."""
        assert self._distillation is not None, 'no levels are distilled'
        return self._distillation

    @property
    def logit_distillation(self) -> LogitDistillation | None:
        """The loss of the logits; None without one."""
        return self._logits

    @property
    def selector(self) -> Selector:
        """What chooses the levels."""
        return self._selector.module

    @property
    def balancing(self) -> Balancing | None:
        """Applies the balancer; None without one."""
        return self._balancing

    @property
    def detector(self) -> nn.Module:
        """The student, under the name that mmdet's hooks use for the model in a
        wrapper."""
        return self.student

    @property
    def head(self) -> nn.Module:
        """The student's head, for mmpretrain's hooks."""
        return self.student.head

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
        self._balancing = Balancing(balancer, self.adapter, self.levels)
        self.settings |= flatten(balancer, 'model.balancer')

    @property
    def search_images(self) -> int:
        """Number of images that went through the student in a search so far, on
        all ranks, in training and in the search's own forward passes. 0 if the
        selector does not search."""
        return self.functional.images

    def train(self, mode: bool = True) -> 'PyramidDistiller':
        """Train or evaluate; a frozen backbone keeps its statistics."""
        super().train(mode)
        self.selector.train(mode)
        if mode:
            self.schedule.freeze_statistics()
        return self

    # -- what the Runner and other models call -----------------------------

    def train_step(self, data: Any,
                   optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One iteration; scalars for the log, ``loss`` always among them."""
        return self.run_step(self, data, optim_wrapper).scalars

    def run_step(self, wrapped: nn.Module, data: Any,
                 optim_wrapper: OptimWrapper) -> StepOutput:
        """One iteration as a value: see :func:`.step.run_step`."""
        check_run_state(self)
        return run_step(self, wrapped, data, optim_wrapper)

    def forward(self, inputs: Tensor, data_samples: list | None = None,
                mode: str = 'tensor', plan: StepPlan | None = None,
                search: SearchInputs | None = None) -> Any:
        """What the student's ``forward`` does; ``'loss'`` also distils.

        Args:
            inputs: (B, 3, H, W), preprocessed.
            data_samples: the library's annotations, one for each image.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'`` as in mmengine;
                ``'step'`` is the part of a training step that a wrapper
                synchronises, and gives its :class:`.step.StepOutput`.
            plan: of a training step.
            search: of a training step that learns from held-out images.
        """
        if mode == 'step':
            assert plan is not None, 'a step needs a plan'
            return distil(self, plan, inputs, data_samples or [], search)
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        return self.student(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Task losses and the distillation loss of a batch, as in an
        iteration that updates the student. Changes nothing."""
        return evaluate_losses(self, inputs, data_samples)

    def choose(self, inputs: Tensor, data_samples: list) -> Selection:
        """What the selector chooses for images; changes nothing.

        Args:
            inputs: (B, 3, H, W), preprocessed.
            data_samples: the annotations, one for each image.
        """
        return evaluate_choice(self, inputs, data_samples)

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
            ValueError: the teacher has no weights, the selector no held-out
                images to learn from, or a level nothing that can learn.
        """
        if self.selector.needs_held_out:
            self.held_out.check_connected(type(self.selector).__name__)
        if self.teacher is not None:
            self.teacher.require_weights()
        self.check_trainable()
        self.student.init_weights()

    def check_trainable(self) -> None:
        """Refuse levels that nothing in the student can change.

        Raises:
            ValueError: the student's config freezes all that a level depends on.
        """
        frozen = frozen_levels(self.adapter, self.tap) if self.levels else []
        if frozen:
            raise ValueError(
                f"model.levels has {', '.join(frozen)}, and the student's config "
                'freezes all that computes them: only the connectors would '
                f"learn; accepted: levels without {', '.join(frozen)}, or fewer "
                'frozen_stages in model.student.backbone.')

    # nn.Module moves and casts registered modules only, by this method.
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

    def run_state(self) -> dict[str, Any]:
        """State for resuming beyond the student; see :func:`.resuming.run_state`."""
        return run_state(self)

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Restore the state of :meth:`run_state`.

        Raises:
            ValueError: it is the state of another kind of distillation.
        """
        load_run_state(self, state)
