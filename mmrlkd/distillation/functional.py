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
    """Restore the random number generators afterwards: those of Python, numpy,
    torch and the current GPU."""
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
    """Runs a student with substituted parameters.

    Nothing of the student changes: neither its parameters and their gradients,
    nor the statistics of its normalisation layers, its modes or the random
    numbers of its training. Runs in full precision under autocast, too, because
    rounding in half precision is larger than the differences that are measured.

    Args:
        student: its adapter.
        tap: reads its levels.
    """

    def __init__(self, student: TaskAdapter, tap: PyramidTap) -> None:
        self._student = student
        self._tap = tap
        self._shell = _Shell(student)
        #: Number of images that went through it, on all ranks.
        self.images = 0

    def trainable(self) -> dict[str, nn.Parameter]:
        """The trained parameters, by name."""
        return {name: parameter
                for name, parameter in self._shell.named_parameters()
                if parameter.requires_grad}

    def shapes_pyramid(self) -> list[str]:
        """Names of the trained parameters that level maps may depend on: those of
        backbone and neck."""
        student = self._student
        # By identity: the names differ between the student and its parts.
        inner = {id(p) for part in student.parts for p in part.parameters()}
        return [name for name, parameter in self.trainable().items()
                if id(parameter) in inner]

    def task_loss(self, parameters: Mapping[str, Tensor], images: Tensor,
                  samples: list) -> tuple[Tensor, StudentMaps]:
        """The task loss with its graph, and the level maps.

        Args:
            parameters: by name; the student's own for names that are missing.
            images: (B, 3, H, W), preprocessed.
            samples: the annotations, one for each image.
        """
        with torch.enable_grad():
            losses, maps = self._run(parameters, images, samples)
            return self._student.model.parse_losses(losses)[0], maps

    def pyramid(self, parameters: Mapping[str, Tensor],
                images: Tensor) -> StudentMaps:
        """The level maps of ``images``, without graph; the heads do not run."""
        with torch.no_grad():
            return self._run(parameters, images)[1]

    def _run(self, parameters: Mapping[str, Tensor],
             *arguments) -> tuple[dict, StudentMaps]:
        self.count(len(arguments[0]))
        # Copies of the buffers: batch normalisation updates them in place.
        statistics = {name: buffer.clone()
                      for name, buffer in self._shell.named_buffers()}
        with preserved_rng(), self._tap.recording(), torch.autocast(
                arguments[0].device.type, enabled=False):
            losses = functional_call(
                self._shell, {**statistics, **parameters}, arguments)
        return losses, self._tap.take()

    def count(self, images: int) -> None:
        """Add the images of a batch; all ranks have equally many."""
        self.images += images * get_world_size()


class _Shell(nn.Module):
    """One module whose forward is either pass: ``functional_call`` substitutes
    parameters only while a module's own forward runs."""

    def __init__(self, student: TaskAdapter) -> None:
        super().__init__()
        self.model = student.model
        self._extract = student.extract

    def forward(self, images: Tensor, samples: list | None = None) -> dict:
        if samples is None:
            self._extract(images)
            return {}
        return self.model.loss(images, samples)
