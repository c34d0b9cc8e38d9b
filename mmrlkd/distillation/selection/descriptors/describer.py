"""The descriptors of a distillation; each is computed at most once a batch."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmrlkd.arguments import refuse
from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.logits import count_head
from mmrlkd.registry import DESCRIPTORS

from .base import Batch, Descriptor


def check_context(owner: str, names: Sequence[str]) -> tuple[str, ...]:
    """Check an option ``context``: a list of different names.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(names, str) or len(set(names)) != len(names):
        refuse(owner, 'context', names,
               "a list of different descriptors, such as ['objects']")
    return tuple(names)


class Describer:
    """Builds descriptors, and checks that the models have what they need.

    Args:
        names: of the descriptors that may be asked for.
        student: its adapter.
        teacher: its adapter.

    Attributes:
        descriptors: by name.
        needs_student_head: whether one of them needs the student's logits.
        needs_teacher_head: whether one of them needs the teacher's head.
        gflops: of the teacher's head and neck for one probe image; 0 if no
            descriptor needs the head.

    Raises:
        ValueError: a name is unknown, or a descriptor does not fit the models.
    """

    def __init__(self, names: Iterable[str], student: TaskAdapter,
                 teacher: TaskAdapter) -> None:
        self.descriptors: dict[str, Descriptor] = {
            name: _build(name, student, teacher)
            for name in dict.fromkeys(names)}
        wanted = self.descriptors.values()
        self.needs_student_head = any(
            each.needs_student_head for each in wanted)
        self.needs_teacher_head = any(
            each.needs_teacher_head for each in wanted)
        # Counted once, for the log; the head runs once a batch for all of them.
        self.gflops = 0.0
        if self.needs_teacher_head:
            self.gflops = count_head(teacher)[1]


def _build(name: str, student: TaskAdapter,
           teacher: TaskAdapter) -> Descriptor:
    DESCRIPTORS.import_from_location()
    fitting = [key for key, member in DESCRIPTORS.module_dict.items()
               if not member().misfit(student, teacher)]
    accepted = f'accepted for {student.task}: {", ".join(fitting)}.'
    known = DESCRIPTORS.get(name) if isinstance(name, str) else None
    if known is None:
        raise ValueError(
            f'model.selector: {name!r} is no descriptor of images; {accepted}')
    descriptor = known()
    reason = descriptor.misfit(student, teacher)
    if reason:
        raise ValueError(
            f'model.selector: the descriptor {name!r} {reason}; {accepted}')
    return descriptor


class Descriptions:
    """The descriptors of one batch. Each is computed when it is first asked for,
    and shared between the state and the reward.

    Args:
        describer: holds the descriptors.
        batch: their input.
    """

    def __init__(self, describer: Describer, batch: Batch) -> None:
        self._describer = describer
        self._batch = batch
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, name: str) -> Tensor:
        """(B,) float32, detached: the descriptor ``name`` of each image."""
        if name not in self._known:
            self._known[name] = self._describer.descriptors[name](
                self._batch).detach().float()
        return self._known[name]

    @torch.no_grad()
    def context(self, names: Sequence[str]) -> Tensor:
        """(B, K) scaled descriptors, for a state; 0 where not finite."""
        described = [self._describer.descriptors[name].scale(self(name))
                     for name in names]
        return torch.stack(described, dim=1).nan_to_num(0., 0., 0.)
