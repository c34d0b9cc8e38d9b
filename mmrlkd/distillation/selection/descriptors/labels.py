"""Descriptors of the annotations. Levels are chosen in training only, where the
annotations are known."""

from abc import abstractmethod

import torch
from torch import Tensor

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.registry import DESCRIPTORS
from mmrlkd.structures import Boxes

from .base import Batch, Descriptor, masked_mean


class BoxDescriptor(Descriptor):
    """Computed from the boxes of the annotated objects, without crowds and
    ignored regions, after the augmentation of the training pipeline."""

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        return '' if student.has_boxes else (
            f'needs the boxes of the objects, which {student.task} does not '
            'have')

    def __call__(self, batch: Batch) -> Tensor:
        boxes = batch.student.boxes(batch.samples)
        if boxes is None:
            raise ValueError(
                'model.selector asks for the objects of each image, but the '
                'annotations have no gt_instances; accepted: images whose '
                'pipeline loads the boxes.')
        return self.describe(Boxes.of(
            boxes, tuple(batch.images.shape[-2:]), batch.images.device))

    @abstractmethod
    def describe(self, boxes: Boxes) -> Tensor:
        """(B,), one number for each image."""


@DESCRIPTORS.register_module(name='objects')
class Objects(BoxDescriptor):
    """Number of annotated objects; log(1 + n) in a state."""

    def describe(self, boxes: Boxes) -> Tensor:
        return boxes.valid.sum(1).float()

    def scale(self, values: Tensor) -> Tensor:
        return values.log1p()


@DESCRIPTORS.register_module(name='object_size')
class ObjectSize(BoxDescriptor):
    """Mean over the objects of √(box area / image area); 0 without objects."""

    def describe(self, boxes: Boxes) -> Tensor:
        sides = (boxes.corners[..., 2:] - boxes.corners[..., :2]).clamp(min=0)
        return masked_mean(sides.prod(-1).sqrt(), boxes.valid)


@DESCRIPTORS.register_module(name='crowding')
class Crowding(BoxDescriptor):
    """Mean over the objects of the largest IoU with another object's box, in
    [0, 1]; 0 with fewer than two."""

    def describe(self, boxes: Boxes) -> Tensor:
        # Intersection over union of all K × K pairs of an image at once.
        corners = boxes.corners
        low = torch.maximum(corners[:, :, None, :2], corners[:, None, :, :2])
        high = torch.minimum(corners[:, :, None, 2:], corners[:, None, :, 2:])
        shared = (high - low).clamp(min=0).prod(-1)
        area = (corners[..., 2:] - corners[..., :2]).clamp(min=0).prod(-1)
        union = area[:, :, None] + area[:, None] - shared
        overlap = shared / union.clamp(min=torch.finfo(union.dtype).tiny)
        itself = torch.eye(
            corners.shape[1], dtype=torch.bool, device=corners.device)
        pair = boxes.valid[:, :, None] & boxes.valid[:, None] & ~itself
        return masked_mean(
            overlap.where(pair, overlap.new_zeros(())).amax(-1), boxes.valid)


class MapDescriptor(Descriptor):
    """Computed from the annotated label map."""

    def misfit(self, student: TaskAdapter, teacher: TaskAdapter) -> str:
        return '' if student.label_classes else (
            f'needs a class for each pixel, which {student.task} does not '
            'have')

    def __call__(self, batch: Batch) -> Tensor:
        targets = batch.student.targets(batch.samples)
        if targets is None:
            raise ValueError(
                'model.selector asks for the label map of each image, but '
                'the annotations have no gt_sem_seg; accepted: images whose '
                'pipeline loads it.')
        classes = batch.student.label_classes
        targets = targets.to(batch.images.device)
        labelled = (targets >= 0) & (targets < classes)
        return self.describe(targets.where(labelled, -1), classes)

    @abstractmethod
    def describe(self, labels: Tensor, classes: int) -> Tensor:
        """(B,), from (B, H, W) int64 labels, −1 where there is none."""


def class_shares(labels: Tensor, classes: int) -> Tensor:
    """(B, K) share of the labelled pixels that each class has; 0 in an image
    without labels."""
    # Pixels without a label are counted in one more column, which is dropped.
    index = labels.flatten(1).where(labels.flatten(1) >= 0, classes)
    counts = torch.zeros(len(labels), classes + 1, device=labels.device)
    counts = counts.scatter_add_(
        1, index, torch.ones_like(index, dtype=counts.dtype))[:, :classes]
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


@DESCRIPTORS.register_module(name='classes')
class Classes(MapDescriptor):
    """Number of classes present; log(1 + n) in a state."""

    def describe(self, labels: Tensor, classes: int) -> Tensor:
        return (class_shares(labels, classes) > 0).sum(1).float()

    def scale(self, values: Tensor) -> Tensor:
        return values.log1p()


@DESCRIPTORS.register_module(name='largest_class')
class LargestClass(MapDescriptor):
    """Share of the labelled pixels that the most frequent class has."""

    def describe(self, labels: Tensor, classes: int) -> Tensor:
        return class_shares(labels, classes).amax(1)


@DESCRIPTORS.register_module(name='class_entropy')
class ClassEntropy(MapDescriptor):
    """Entropy of the shares of the classes, in nats."""

    def describe(self, labels: Tensor, classes: int) -> Tensor:
        return torch.special.entr(class_shares(labels, classes)).sum(1)


@DESCRIPTORS.register_module(name='boundary')
class Boundary(MapDescriptor):
    """Share of the labelled pixels whose right or lower neighbour has another
    label."""

    def describe(self, labels: Tensor, classes: int) -> Tensor:
        edge = torch.zeros_like(labels, dtype=torch.bool)
        for axis in (1, 2):
            length = labels.shape[axis] - 1
            here = labels.narrow(axis, 0, length)
            there = labels.narrow(axis, 1, length)
            edge.narrow(axis, 0, length).logical_or_(
                (here != there) & (here >= 0) & (there >= 0))
        return masked_mean(edge.float(), labels >= 0)
