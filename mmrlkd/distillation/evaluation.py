"""The losses and the choice of a batch outside a training step, without any change
to the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmrlkd.structures import Selection

from .functional import preserved_rng
from .step import choose, extract_teacher, forward, run_student

if TYPE_CHECKING:
    from .distiller import PyramidDistiller


@contextmanager
def unchanged(model: PyramidDistiller) -> Iterator[None]:
    """Restore afterwards what a forward pass changes: statistics of
    normalisation layers and random numbers. Meanwhile the selector chooses as in
    iterations from which it does not learn."""
    selector = model.selector
    learning, selector.learning = selector.learning, False
    saved = [(buffer, buffer.clone()) for module in (model, selector)
             for buffer in module.buffers()]
    # Tensors of inference mode have no version counter, by which the tap sees
    # in-place changes. Without gradients the mode changes nothing else.
    gradients = torch.is_grad_enabled()
    try:
        with (preserved_rng(), torch.inference_mode(False),
              torch.set_grad_enabled(gradients)):
            yield
    finally:
        selector.learning = learning
        for buffer, value in saved:
            # .data does not change the buffer's version: a graph that holds the
            # buffer can still run backward.
            buffer.data.copy_(value)


def evaluate_losses(model: PyramidDistiller, images: Tensor,
                    samples: list) -> dict[str, Tensor]:
    """The losses of a training step that updates the student, without changing
    anything. The modes of the model and of autograd are the caller's.

    Args:
        model: the distiller.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
    """
    plan = replace(model.schedule.plan(), update_student=True, learn=False)
    with unchanged(model):
        return forward(model, plan, images, samples)[0].losses


@torch.no_grad()
def evaluate_choice(model: PyramidDistiller, images: Tensor,
                    samples: list) -> Selection:
    """The selector's choice for images, without changing anything. Heads run only
    if a descriptor needs them."""
    plan = model.schedule.plan()
    pyramid = extract_teacher(model, plan, images)
    assert pyramid is not None, 'no levels are distilled'
    with unchanged(model):
        with model.tap.recording():
            run_student(model, plan, images, samples, heads=False)
        return choose(model, plan, images, samples, model.tap.take(), pyramid,
                      False)[2].selection
