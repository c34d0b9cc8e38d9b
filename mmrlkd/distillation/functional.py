"""Side-effect-free forward passes with substituted parameters."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.func import functional_call

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import PyramidTap, StudentMaps


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore the generators of random numbers afterwards: Python's, numpy's,
    torch's and that of the current GPU."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = ([torch.cuda.current_device()]
               if torch.cuda.is_initialized() else [])
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


class FunctionalStudent:
    """Runs a student with other parameters.

    Nothing of the student changes: not its parameters, their gradients, the
    statistics of its normalisation layers, its modes or the random numbers
    that its training draws. Runs in full precision under autocast, too: the
    small differences that are asked for would drown in half.

    Args:
        student: its adapter.
        tap: reads its levels.
    """

    def __init__(self, student: TaskAdapter, tap: PyramidTap) -> None:
        self._student = student
        self._tap = tap
        self._shell = _Shell(student)
        #: How many images the student saw for a search, on all ranks.
        self.images = 0

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves, by name."""
        return {name: parameter
                for name, parameter in self._shell.named_parameters()
                if parameter.requires_grad}

    def shapes_pyramid(self) -> list[str]:
        """Names of those of them that the level maps depend on."""
        student = self._student
        inner = {id(p) for part in student.parts for p in part.parameters()}
        return [name for name, parameter in self.trainable().items()
                if id(parameter) in inner]

    def task_loss(self, parameters: Mapping[str, Tensor], images: Tensor,
                  samples: list) -> tuple[Tensor, StudentMaps]:
        """The task loss with its graph, and the maps behind it.

        Args:
            parameters: by name; those left out are the student's own.
            images: (B, 3, H, W), preprocessed.
            samples: the annotations, one for each image.
        """
        with torch.enable_grad():
            losses, maps = self._run(parameters, images, samples)
            return self._student.model.parse_losses(losses)[0], maps

    def pyramid(self, parameters: Mapping[str, Tensor],
                images: Tensor) -> StudentMaps:
        """The maps of ``images``, without graph and without the heads."""
        with torch.no_grad():
            return self._run(parameters, images)[1]

    def _run(self, parameters: Mapping[str, Tensor],
             *arguments) -> tuple[dict, StudentMaps]:
        self.count(len(arguments[0]))
        statistics = {name: buffer.clone()
                      for name, buffer in self._shell.named_buffers()}
        with preserved_rng(), self._tap.recording(), torch.autocast(
                arguments[0].device.type, enabled=False):
            losses = functional_call(
                self._shell, {**statistics, **parameters}, arguments)
        return losses, self._tap.take()

    def count(self, images: int) -> None:
        """Add images of this rank; all ranks have as many."""
        self.images += images * get_world_size()


class _Shell(nn.Module):
    """A student as one function, which :func:`functional_call` wants."""

    def __init__(self, student: TaskAdapter) -> None:
        super().__init__()
        self.model = student.model
        self._extract = student.extract

    def forward(self, images: Tensor, samples: list | None = None) -> dict:
        if samples is None:
            self._extract(images)
            return {}
        return self.model.loss(images, samples)
