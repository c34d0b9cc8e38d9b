"""Distilling the teacher's logits."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.probing import evaluating
from mmrlkd.distillation.logit_losses import LogitLoss
from mmrlkd.registry import LOGIT_LOSSES


def read_logits(adapter: TaskAdapter, features: Any) -> Tensor:
    """Run a model's head and read its logits.

    Args:
        adapter: of the model.
        features: see :meth:`.adapters.TaskAdapter.run_head`.
    """
    # By a hook, as the student's logits are read while it computes its loss.
    seen: list[Any] = []
    layer = adapter.logit_layer
    assert layer is not None
    handle = layer.register_forward_hook(
        lambda module, inputs, output: seen.append(output))
    try:
        adapter.run_head(features)
    finally:
        handle.remove()
    return seen[-1]


def count_head(adapter: TaskAdapter) -> tuple[Any, float]:
    """What the head puts out for the probe image, and the counted GFLOPs of
    what only it needs: itself and the neck."""
    with torch.no_grad(), evaluating(adapter.model):
        # Outside the counter: the backbone runs for the levels anyway.
        features = adapter.backbone(adapter.probe_image())
        with FlopCounterMode(display=False) as counter:
            if adapter.neck is not None:
                features = adapter.neck(features)
            output = (read_logits(adapter, features)
                      if adapter.dense_head is None
                      else adapter.score_logits(features))
    return output, counter.get_total_flops() / 1e9


class LogitDistillation:
    """The loss between the logits of student and teacher, for every image in
    every update; the selector has no influence on it.

    Args:
        student: its adapter.
        teacher: its adapter.
        loss: config of the :class:`~mmrlkd.distillation.logit_losses.LogitLoss`.

    Attributes:
        gflops: counted GFLOPs of the teacher's head (and neck) for one probe
            image.

    Raises:
        ValueError: one of the models has no logits, or they differ in their
            classes.
    """

    def __init__(self, student: TaskAdapter, teacher: TaskAdapter,
                 loss: dict) -> None:
        # Heads of mmseg and mmpretrain have a softmax or a sigmoid by config; the
        # loss has to use the same.
        self.loss: LogitLoss = LOGIT_LOSSES.build(loss)
        self.loss.sigmoid = _sigmoid(student, teacher, self.loss)
        self._student = student
        mine, _ = _probe(student, loss)
        theirs, self.gflops = _probe(teacher, loss)
        if mine != theirs:
            raise ValueError(
                f"logit_loss is a {loss['type']}, but the student has "
                f'{mine} classes and the teacher {theirs}; accepted: models '
                'of the same classes.')

    def __call__(self, student: Tensor, teacher: Tensor,
                 samples: list) -> Tensor:
        """The loss of a batch, 0-dim.

        Args:
            student: (B, K) or (B, K, h, w), with its graph.
            teacher: likewise; a map may be of another size.
            samples: the annotations.

        Raises:
            ValueError: the loss asks for classes that the annotations lack.
        """
        targets = None
        if self.loss.needs_targets:
            targets = self._student.targets(samples)
            if targets is None:
                raise ValueError(
                    f'logit_loss is a {type(self.loss).__name__}, which needs '
                    'the class of each image or pixel, but the annotations '
                    'give none; accepted: KLLoss or DISTLoss.')
        return self.loss(student, teacher, targets)


def _sigmoid(student: TaskAdapter, teacher: TaskAdapter,
             loss: LogitLoss) -> bool:
    """Whether both heads have a sigmoid for each class, not a softmax."""
    kinds = [('a softmax', 'a sigmoid for each class')[each.sigmoid_logits]
             for each in (student, teacher)]
    name = type(loss).__name__
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"logit_loss is a {name}, but the student's head has {kinds[0]} "
            f"and the teacher's {kinds[1]}; accepted: the same of both.")
    if student.sigmoid_logits and not loss.takes_sigmoid:
        raise ValueError(
            f'logit_loss is a {name}, which compares the probabilities of a '
            "softmax, but the student's head has a sigmoid for each class "
            '(multi-label or binary); accepted: KLLoss.')
    return student.sigmoid_logits


def _probe(adapter: TaskAdapter, loss: dict) -> tuple[int, float]:
    """Number of classes, and GFLOPs of neck and head."""
    if adapter.logit_layer is None:
        raise ValueError(
            f"logit_loss is a {loss['type']}, but the {adapter.owner} "
            f'({type(adapter.model).__name__}, {adapter.task}) has no logits '
            'for each image or pixel; accepted: None, or classifiers and '
            'segmentors.')
    logits, gflops = count_head(adapter)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"logit_loss is a {loss['type']}, but the head of the "
            f'{adapter.owner} puts out a {type(logits).__name__}; accepted: '
            'heads that put out one tensor of logits.')
    if logits.shape[1] < 2 and not adapter.sigmoid_logits:
        raise ValueError(
            f"logit_loss is a {loss['type']}, but the {adapter.owner} has one "
            'logit; accepted: 2 or more classes, of which a softmax makes '
            'probabilities.')
    return logits.shape[1], gflops
