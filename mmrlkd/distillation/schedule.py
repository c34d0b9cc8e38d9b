"""The position in training, and what an iteration does there."""

from dataclasses import dataclass

from torch import nn

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.selection.selectors import Selector
from mmrlkd.structures import Phase

from .unregistered import UnregisteredModule

#: The phase if no hook sets one.
ALWAYS = Phase('train', share=1.0)


@dataclass(frozen=True)
class StepPlan:
    """What one iteration does.

    Attributes:
        update_student: take a step on the student and the connectors.
        learn: let the selector learn from the batch.
        choose: distil the selector's choice; otherwise all levels equally.
        distil: distil at all.
        freeze_backbone: the student's backbone takes no gradient.
        progress: share of the selector's learning that is over, in [0, 1].
    """
    update_student: bool = True
    learn: bool = False
    choose: bool = True
    distil: bool = True
    freeze_backbone: bool = False
    progress: float = 0.0


def teaches(phase: Phase, selector: Selector) -> bool:
    """Whether the selector learns in a phase.

    A phase without ``choose`` computes all levels, so the gain of every subset
    is known and a policy can learn. DARTS and GDAS cannot: they learn from the
    mixture that was distilled.
    """
    taught = phase.choose or not selector.needs_held_out
    return (selector.learns and phase.distil and taught
            and phase.learn_every > 0)


class Schedule:
    """Makes the plan of each iteration, from the phase that a hook sets.

    Args:
        student: its adapter; phases may freeze its backbone.
        selector: informed of its progress.

    Attributes:
        phase: the present phase.
        iteration: number of iterations since the phase began.
        progress: share of the selector's learning that is over.
    """

    def __init__(self, student: TaskAdapter,
                 selector: UnregisteredModule) -> None:
        self.phase = ALWAYS
        self.iteration = 0
        self.progress = 0.0
        self._student = student
        self._selector = selector
        self._frozen: list[nn.Parameter] = []

    def set(self, phase: Phase, iteration: int, progress: float) -> None:
        """Set the position in training, before each iteration."""
        refreeze = phase.freeze_backbone != self.phase.freeze_backbone
        self.phase = phase
        self.iteration = iteration
        self.progress = progress
        selector: Selector = self._selector.module
        selector.set_progress(progress)
        selector.learning = self.learns
        if refreeze:
            self._freeze(phase.freeze_backbone)
            self._student.backbone.train(self._student.model.training)
            self.freeze_statistics()

    def plan(self) -> StepPlan:
        """What this iteration does."""
        return StepPlan(
            self.updates_student, self.learns, self.phase.choose,
            self.phase.distil, self.phase.freeze_backbone, self.progress)

    @property
    def updates_student(self) -> bool:
        """Whether this iteration updates the student."""
        # The last of every n iterations, so that a phase ends with an update.
        return (self.iteration + 1) % self.phase.student_every == 0

    @property
    def learns(self) -> bool:
        """Whether the selector learns from this iteration."""
        return (teaches(self.phase, self._selector.module)
                and self.iteration % self.phase.learn_every == 0)

    def freeze_statistics(self) -> None:
        """Put a frozen backbone in eval mode, so that it keeps its statistics."""
        if self.phase.freeze_backbone:
            self._student.backbone.eval()

    def _freeze(self, freeze: bool) -> None:
        if freeze:
            self._frozen = [p for p in self._student.backbone.parameters()
                            if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(not freeze)
            # Otherwise the optimizer would still apply the last gradient.
            parameter.grad = None
        if not freeze:
            self._frozen = []
