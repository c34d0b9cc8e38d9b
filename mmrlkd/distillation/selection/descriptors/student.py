"""Descriptors of the student's progress on an image."""

from torch import Tensor

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.registry import DESCRIPTORS

from .base import Batch, Descriptor, loss_misfit, per_image_loss


@DESCRIPTORS.register_module(name='student_loss')
class StudentLoss(Descriptor):
    """The student's cross entropy; log(1 + loss) in a state. The student's head
    must run in every iteration."""

    needs_student_head = True

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        return loss_misfit(student)

    def __call__(self, batch: Batch) -> Tensor:
        assert batch.maps.logits is not None, "the student's head did not run"
        return per_image_loss(
            batch.maps.logits, batch.student.targets(batch.samples))

    def scale(self, values: Tensor) -> Tensor:
        return values.log1p()


@DESCRIPTORS.register_module(name='discrepancy')
class Discrepancy(Descriptor):
    """Mean over the levels of the distance to the teacher, each in units of its
    running mean; log(1 + d) in a state. It needs the losses of all levels."""

    def __call__(self, batch: Batch) -> Tensor:
        return batch.losses.compute_all().mean(1)

    def scale(self, values: Tensor) -> Tensor:
        return values.log1p()
