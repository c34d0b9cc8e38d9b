"""The effect of a student step on a level on the held-out task loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce_params
from torch import Tensor
from torch.optim import Optimizer

from .functional import FunctionalStudent, preserved_rng
from .hypergradient import directional_derivative, virtual_step
from .level_losses import LevelLosses


@dataclass(frozen=True)
class SearchInputs:
    """Inputs of a search on held-out images besides the training batch.

    Attributes:
        held_out: a batch from a data loader.
        optimizer: the student's.
    """
    held_out: Any
    optimizer: Optimizer


@dataclass(frozen=True)
class StepEffect:
    r"""The task gradient of DARTS for the weights of the levels.

    The student trains on L_task + Σ_i w_i ℓ_i, with ℓ_i the mean loss of
    level i over the batch, and the held-out loss knows no w. So w acts only
    through the student's step θ' = θ − ξ ∇(L_task + Σ_i w_i ℓ_i):

        d L_val(θ')/d w_i = −ξ ⟨∇ℓ_i(θ), v⟩,

    with v = ∇L_val at θ (order 1) or at θ' (order 2). Forward-mode
    differentiation along v gives the products of all levels, exactly, in one
    forward pass of backbone and neck and without a backward pass; see
    :func:`.hypergradient.directional_derivative`.

    ξ is left out: it scales all levels equally, and only their ratios are used.
    θ' is the step of the student's own optimizer, with momentum and weight
    decay, without gradient clipping. Its derivative is approximated by that of a
    plain gradient step, also for adaptive optimizers.

    Attributes:
        student: run with other parameters.
        losses: of the training batch, for its teacher.
        images: (B, 3, H, W), the training batch.
        samples: its annotations.
        weights: (B, L), weights of each image's levels in the training loss.
        held_out: the held-out batch, from a data loader.
        preprocess: the student's data preprocessor.
        optimizer: the student's.
    """
    student: FunctionalStudent
    losses: LevelLosses
    images: Tensor
    samples: list
    weights: Tensor
    held_out: Any
    preprocess: Callable[..., dict[str, Any]]
    optimizer: Optimizer

    def __call__(self, order: int) -> Tensor:
        """(L,) −⟨∇ℓ_i, v⟩. v is equal on all ranks, ℓ_i is that of the rank's own
        batch; so the mean over the ranks is the result for the whole batch."""
        # Derivatives are needed by the parameters of backbone and neck only: the
        # level losses do not depend on the heads.
        own = self.student.trainable()
        point = {name: own[name].detach()
                 for name in self.student.shapes_pyramid()}
        ahead = {name: parameter.detach() for name, parameter in own.items()}
        if order == 2:
            ahead = self._after_step(own)
        vector = self._held_out_gradient(ahead, list(point))

        def level_losses(moved: list[Tensor]) -> Tensor:
            maps = self.student.pyramid(
                dict(zip(point, moved, strict=True)), self.images)
            return torch.stack(
                [loss.mean() for loss in self._compare(maps.levels)])

        with torch.no_grad():
            return -directional_derivative(
                level_losses, list(point.values()), vector)

    def _compare(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """Losses (B,) of each level. Every call draws the same random numbers, so
        that a finite difference does not compare different masks (MGD)."""
        with preserved_rng(), torch.autocast(
                self.images.device.type, enabled=False):
            return [self.losses.compare(i, m) for i, m in enumerate(maps)]

    def _held_out_gradient(self, parameters: Mapping[str, Tensor],
                           names: list[str]) -> list[Tensor]:
        with preserved_rng():
            batch = self.preprocess(self.held_out, True)
        leaves = {name: parameter.detach().requires_grad_()
                  for name, parameter in parameters.items()}
        loss, _ = self.student.task_loss(
            leaves, batch['inputs'], batch['data_samples'])
        return _synchronised(torch.autograd.grad(
            loss, [leaves[name] for name in names], allow_unused=True,
            materialize_grads=True))

    def _after_step(self, own: Mapping[str, Any]) -> dict[str, Tensor]:
        """θ', all trainable parameters after the step of this batch."""
        leaves = {name: parameter.detach().requires_grad_()
                  for name, parameter in own.items()}
        # The loss of the training step, with the weights of this batch.
        total, maps = self.student.task_loss(leaves, self.images, self.samples)
        with torch.enable_grad():
            for i, loss in enumerate(self._compare(maps.levels)):
                total = total + (self.weights[:, i] * loss).mean()
        gradients = _synchronised(torch.autograd.grad(
            total, list(leaves.values()), allow_unused=True,
            materialize_grads=True))
        moved = virtual_step(self.optimizer, dict(
            zip(own.values(), gradients, strict=True)))
        return {name: moved[parameter] for name, parameter in own.items()}


def _synchronised(gradients: tuple[Tensor, ...]) -> list[Tensor]:
    """The mean over the ranks, as DDP averages the gradients of the step."""
    mean = list(gradients)
    all_reduce_params(mean, op='mean')
    return mean
