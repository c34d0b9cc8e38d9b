"""Descriptors of the teacher's predictions. They run the teacher's head, which
is logged as ``descriptor_gflops``."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.registry import DESCRIPTORS

from .base import (
    Batch,
    Descriptor,
    loss_misfit,
    masked_mean,
    per_image_loss,
)

#: Scores of a detector: below the first a position is background, which is the
#: usual ``score_thr`` of mmdet's test configs; above the second a detection is
#: confident.
BACKGROUND, CONFIDENT = 0.05, 0.3


@dataclass(frozen=True)
class Scores:
    """Class probabilities at N positions of each image.

    Attributes:
        probabilities: (B, K, N).
        counts: (B, N) bool, the positions that count.
        exclusive: whether the classes of a position sum to one.
    """
    probabilities: Tensor
    counts: Tensor
    exclusive: bool


def read_scores(batch: Batch) -> Scores:
    """The class scores of the teacher's head.

    All positions of a classifier or a segmentor count. Of a detector, the peaks
    count: positions whose best score over anchors and classes is above
    :data:`BACKGROUND` and the largest of its 3 × 3 neighbours on its level.
    CenterNet finds its detections in the same way, without NMS (Zhou et al.
    2019, https://arxiv.org/abs/1904.07850). An object with peaks on several
    levels is counted several times.
    """
    teacher = batch.teacher
    if teacher.dense_head is None:
        logits = batch.pyramid.logits().float()
        probabilities = (logits.sigmoid() if teacher.sigmoid_logits
                         else logits.softmax(dim=1))
        probabilities = probabilities.reshape(*logits.shape[:2], -1)
        return Scores(
            probabilities, torch.ones_like(probabilities[:, 0], dtype=torch.bool),
            not teacher.sigmoid_logits)
    scores, peaks = [], []
    for maps in batch.pyramid.score_maps():
        best = maps.amax(dim=(1, 2))
        largest = F.max_pool2d(best[:, None], 3, stride=1, padding=1)[:, 0]
        # The maximum over a window that contains the position: equality means
        # that no neighbour is higher.
        scores.append(best.flatten(1))
        peaks.append(((best == largest) & (best > BACKGROUND)).flatten(1))
    return Scores(torch.cat(scores, 1)[:, None], torch.cat(peaks, 1), False)


class TeacherDescriptor(Descriptor):
    """Computed from the teacher's class scores."""

    needs_teacher_head = True

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        if teacher.logit_layer is None and teacher.dense_head is None:
            return ('needs class scores at each position, which the head of '
                    f'the teacher ({type(teacher.model).__name__}) is not '
                    'known to have')
        return ''

    def __call__(self, batch: Batch) -> Tensor:
        return self.describe(read_scores(batch))

    @abstractmethod
    def describe(self, scores: Scores) -> Tensor:
        """(B,), one number for each image."""


@DESCRIPTORS.register_module(name='teacher_confidence')
class TeacherConfidence(TeacherDescriptor):
    """Mean over the positions of the largest probability of a class."""

    def describe(self, scores: Scores) -> Tensor:
        return masked_mean(scores.probabilities.amax(1), scores.counts)


@DESCRIPTORS.register_module(name='teacher_entropy')
class TeacherEntropy(TeacherDescriptor):
    """Mean over the positions of the entropy of the classes, in nats. Where each
    class has a sigmoid, it is the mean of the classes' binary entropies."""

    def describe(self, scores: Scores) -> Tensor:
        terms = torch.special.entr(scores.probabilities)
        if scores.exclusive:
            return masked_mean(terms.sum(1), scores.counts)
        terms = terms + torch.special.entr(1 - scores.probabilities)
        return masked_mean(terms.mean(1), scores.counts)


@DESCRIPTORS.register_module(name='teacher_detections')
class TeacherDetections(TeacherDescriptor):
    """Number of confident detections of a detector; log(1 + n) in a state."""

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        if not teacher.has_boxes:
            return f'counts objects, which {teacher.task} does not detect'
        return super().misfit(student, teacher)

    def describe(self, scores: Scores) -> Tensor:
        confident = scores.probabilities[:, 0] > CONFIDENT
        return (scores.counts & confident).sum(1).float()

    def scale(self, values: Tensor) -> Tensor:
        return values.log1p()


@DESCRIPTORS.register_module(name='teacher_loss')
class TeacherLoss(Descriptor):
    """The teacher's cross entropy; log(1 + loss) in a state."""

    needs_teacher_head = True

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        return loss_misfit(teacher)

    def __call__(self, batch: Batch) -> Tensor:
        return per_image_loss(
            batch.pyramid.logits(), batch.student.targets(batch.samples))

    def scale(self, values: Tensor) -> Tensor:
        return values.log1p()
