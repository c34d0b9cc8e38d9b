"""Where training stands, and what an iteration there does."""

from torch import nn

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.selection.selectors import Selector
from mmrlkd.structures import Phase

from .hidden import Hidden

#: How the model trains while no hook sets a phase.
ALWAYS = Phase('train', share=1.0)


class Schedule:
    """Tells each iteration whom it trains; set from outside.

    Args:
        student: its adapter; phases may freeze its backbone.
        selector: told how far its learning is.

    Attributes:
        phase: the phase the iteration belongs to.
        iteration: counted from the phase's start.
        progress: share of the selector's learning that is over.
    """

    def __init__(self, student: TaskAdapter, selector: Hidden) -> None:
        self.phase = ALWAYS
        self.iteration = 0
        self.progress = 0.0
        self._student = student
        self._selector = selector
        self._frozen: list[nn.Parameter] = []

    def set(self, phase: Phase, iteration: int, progress: float) -> None:
        """Say where training stands, before each iteration."""
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
            self.hold_still()

    @property
    def updates_student(self) -> bool:
        """Whether this iteration updates the student."""
        return (self.iteration + 1) % self.phase.student_every == 0

    @property
    def chooser(self) -> Selector | None:
        """What chooses the levels; None where all are distilled."""
        return self._selector.module if self.phase.choose else None

    @property
    def learns(self) -> bool:
        """Whether the selector learns from this iteration."""
        every = self.phase.learn_every
        return (self._selector.module.learns and self.phase.distil
                and self.phase.choose and every > 0
                and self.iteration % every == 0)

    def hold_still(self) -> None:
        """Let a frozen backbone keep its statistics while the rest trains."""
        if self.phase.freeze_backbone:
            self._student.backbone.eval()

    def _freeze(self, freeze: bool) -> None:
        if freeze:
            self._frozen = [p for p in self._student.backbone.parameters()
                            if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(not freeze)
            parameter.grad = None
        if not freeze:
            self._frozen = []
