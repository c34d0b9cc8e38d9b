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
    """The inputs of a descriptor.

    Attributes:
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        student: its adapter.
        teacher: its adapter.
        maps: the student's, recorded in its forward pass.
        pyramid: the teacher's; its head runs when its logits are asked for.
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
    """Computes one number for each image of a batch.

    It has no options and no state: a config names it, and no more.
    """

    #: Whether the teacher's head must run.
    needs_teacher_head: ClassVar[bool] = False
    #: Whether the student's head must have run.
    needs_student_head: ClassVar[bool] = False

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        """Why it cannot be computed from these models, as the end of a sentence
        that begins with its name; empty if it can."""
        return ''

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor:
        """(B,) float32 on the model's device.

        Raises:
            ValueError: the annotations lack what it needs.
        """

    def scale(self, values: Tensor) -> Tensor:
        """``values`` in the order of 1, for a policy's state. The transform is
        fixed and monotonic: a running mean would have to be resumed and shared
        between ranks."""
        return values


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean of ``values`` (B, …) where ``mask`` (B, …) is set; 0 where the
    mask is empty."""
    values = values.where(mask, values.new_zeros(())).flatten(1).sum(1)
    return values / mask.flatten(1).sum(1).clamp(min=1)


def per_image_loss(logits: Tensor, targets: Tensor | None) -> Tensor:
    """(B,) cross entropy, the mean over the labelled positions.

    Args:
        logits: (B, K) or (B, K, h, w), of a softmax.
        targets: int64 (B,) or (B, H, W), resized to the logits by nearest
            neighbour; labels < 0 or >= K are ignored.

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
    """Why a model's task loss by image cannot be computed from its logits; see
    :meth:`Descriptor.misfit`."""
    if model.logit_layer is None:
        return (f'needs logits for each image or pixel, which the '
                f'{model.owner} ({type(model.model).__name__}) does not have')
    if model.sigmoid_logits:
        return (f'needs classes that exclude one another, and the '
                f"{model.owner}'s head has a sigmoid for each")
    return ''
