"""The interface of descriptors: one number for each image."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import StudentMaps
from mmrlkd.distillation.level_losses import LevelLosses
from mmrlkd.distillation.teacher.lazy import LazyPyramid


@dataclass(frozen=True)
class Batch:
    """What descriptors may look at.

    Attributes:
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        student: its adapter.
        teacher: its adapter.
        maps: what the student showed.
        pyramid: the teacher's; its head runs when it is asked for.
        losses: of the levels.
    """
    images: Tensor
    samples: list
    student: TaskAdapter
    teacher: TaskAdapter
    maps: StudentMaps
    pyramid: LazyPyramid
    losses: LevelLosses


class Descriptor(ABC):
    """Says one number of each image of a batch.

    It has no options and no state: configs have its name.
    """

    #: Whether the teacher's head must run.
    needs_teacher_head: ClassVar[bool] = False
    #: Whether the student's head must have run.
    needs_student_head: ClassVar[bool] = False

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        """Why the models cannot give it, as the end of a sentence that begins
        with its name; empty if they can."""
        return ''

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor:
        """(B,) float32 on the model's device.

        Raises:
            ValueError: the annotations lack what it needs.
        """

    def scale(self, values: Tensor) -> Tensor:
        """What a state shows of ``values``: numbers around 1. A fixed and
        monotonic transform, so that neither resuming nor a second rank could
        make another one of it."""
        return values


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean of ``values`` (B, …) where ``mask`` (B, …) is set; 0 where it
    nowhere is."""
    values = values.where(mask, values.new_zeros(())).flatten(1).sum(1)
    return values / mask.flatten(1).sum(1).clamp(min=1)


def per_image_loss(logits: Tensor, targets: Tensor | None) -> Tensor:
    """(B,) cross entropy, the mean over the labelled positions.

    Args:
        logits: (B, K) or (B, K, h, w), of a softmax.
        targets: int64 (B,) or (B, H, W), of which each position gets the
            nearest; a label < 0 or >= K is none.

    Raises:
        ValueError: there are no targets.
    """
    if targets is None:
        raise ValueError(
            "model.selector asks for the models' task loss by image, but the "
            'annotations give no class of each image or pixel; accepted: '
            'images that have one.')
    logits = logits.detach().float()
    if targets.shape[1:] != logits.shape[2:]:
        targets = torch.nn.functional.interpolate(
            targets[:, None].float(), logits.shape[2:],
            mode='nearest-exact')[:, 0].long()
    labelled = (targets >= 0) & (targets < logits.shape[1])
    losses = torch.nn.functional.cross_entropy(
        logits, targets.where(labelled, -1), ignore_index=-1, reduction='none')
    return masked_mean(losses[:, None], labelled[:, None])


def loss_misfit(model: TaskAdapter) -> str:
    """Why a model's task loss cannot be told by image from its logits."""
    if model.logit_layer is None:
        return (f'needs logits for each image or pixel, which the '
                f'{model.owner} ({type(model.model).__name__}) does not have')
    if model.sigmoid_logits:
        return (f'needs classes that exclude one another, and the '
                f"{model.owner}'s head has a sigmoid for each")
    return ''
