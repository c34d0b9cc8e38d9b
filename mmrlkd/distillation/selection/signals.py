"""Computes the quantities of a batch that rewards ask for."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import Level, StudentMaps
from mmrlkd.distillation.features.probing import evaluating
from mmrlkd.distillation.features.stages import as_maps
from mmrlkd.distillation.level_losses import LevelLosses

#: Losses are scaled before their gradient is taken, and the gradient is divided
#: by it: small gradients would be 0 in half precision.
GRADIENT_SCALE = 2.0**10


class BatchSignals:
    """The :class:`~mmrlkd.structures.Signals` of one batch.

    Each is computed when it is first asked for; a signal that no reward asks
    for costs nothing. Gradients are computed under ``no_grad``, too.

    Args:
        losses: of the batch.
        maps: the student's, recorded in its forward pass.
        levels: the student's levels.
        student: its adapter.
        task_loss: scalar with its graph; None if no reward asks for it.
        step_effect: (L,) by order, see :class:`.step_effect.StepEffect`; None
            without held-out images.
        describe: (B,) by the name of a descriptor; None if no reward asks.
    """

    def __init__(self, losses: LevelLosses, maps: StudentMaps,
                 levels: tuple[Level, ...], student: TaskAdapter,
                 task_loss: Tensor | None,
                 step_effect: Callable[[int], Tensor] | None = None,
                 describe: Callable[[str], Tensor] | None = None) -> None:
        self._losses = losses
        self._maps = maps
        self._levels = levels
        self._student = student
        self._task_loss = task_loss
        self._step_effect = step_effect
        self._describe = describe

    def discrepancy(self) -> Tensor:
        """See :meth:`mmrlkd.structures.Signals.discrepancy`."""
        self._losses.compute_all(graph=False)
        return self._losses.values()

    def alignment(self) -> Tensor:
        """See :meth:`mmrlkd.structures.Signals.alignment`."""
        return self._alignment

    def after_step(self, levels: Tensor, step: float) -> Tensor:
        """See :meth:`mmrlkd.structures.Signals.after_step`.

        The virtual step moves the backbone's maps of each image instead of the
        weights: so it is the image's own, without the other images of the
        batch. The neck then runs again, so a step for one level changes the
        losses of the levels that the neck connects with it. The length is the
        Polyak step of the full pyramid's loss, the same for every selection:
        η = step · L / ‖∇L‖² (Hazan and Kakade 2019,
        https://arxiv.org/abs/1905.00313).
        """
        gradients, length, before = self._stage_gradients
        chosen = levels.to(before.dtype)
        moved = []
        for stage, per_level in zip(self._maps.stages, gradients, strict=True):
            # Not einsum, which autocast would run in half precision.
            gradient = (
                chosen.T[:, :, None, None, None] * per_level).sum(dim=0)
            moved.append(stage.detach() - (
                step * length.view(-1, 1, 1, 1) * gradient).to(stage.dtype))
        with torch.no_grad():
            after = self._full_loss(self._pyramid(moved)).sum(dim=1)
        return after

    def step_effect(self, order: int) -> Tensor:
        """See :meth:`mmrlkd.structures.Signals.step_effect`."""
        assert self._step_effect is not None, 'there are no held-out images'
        return self._step_effect(order)

    def describe(self, name: str) -> Tensor:
        """See :meth:`mmrlkd.structures.Signals.describe`."""
        assert self._describe is not None, 'nothing describes the images'
        return self._describe(name)

    @cached_property
    @torch.enable_grad()
    def _alignment(self) -> Tensor:
        """(B, L), kept: a reward asks twice, for its unit and for its gains."""
        assert self._task_loss is not None, 'the reward asked for no gradients'
        task = torch.autograd.grad(
            self._task_loss * GRADIENT_SCALE, self._maps.sources,
            retain_graph=True, allow_unused=True)
        products = []
        for i, (maps, gradient) in enumerate(
                zip(self._maps.levels, task, strict=True)):
            if gradient is None:  # the task loss does not depend on this level
                products.append(maps.new_zeros(len(maps)).float())
                continue
            if gradient.ndim == 3:  # (B, N, C) of a transformer's tokens
                gradient = gradient.transpose(1, 2).unflatten(
                    2, maps.shape[-2:])
            # A leaf, so that the backward pass ends at the map and does not
            # run through the student.
            leaf = maps.detach().requires_grad_()
            total = self._losses.compare(i, leaf).sum() * GRADIENT_SCALE
            (distillation,) = torch.autograd.grad(total, leaf)
            products.append(
                (gradient.float() * distillation.float()).sum(dim=(1, 2, 3))
                / GRADIENT_SCALE**2)
        return torch.stack(products, dim=1)

    @cached_property
    @torch.enable_grad()
    def _stage_gradients(self) -> tuple[list[Tensor], Tensor, Tensor]:
        """Gradients (L, B, C, h, w) of each level's loss at each stage, the
        Polyak length (B,) and the full loss (B,) before any step."""
        leaves = [s.detach().requires_grad_() for s in self._maps.stages]
        losses = self._full_loss(self._pyramid(leaves))
        rows = [
            torch.autograd.grad(
                losses[:, i].sum() * GRADIENT_SCALE, leaves,
                retain_graph=True, allow_unused=True, materialize_grads=True)
            for i in range(losses.shape[1])
        ]
        gradients = [torch.stack(stage).float() / GRADIENT_SCALE
                     for stage in zip(*rows, strict=True)]
        squared = torch.stack([
            g.sum(dim=0).square().sum(dim=(1, 2, 3)) for g in gradients
        ]).sum(dim=0)
        before = losses.detach().sum(dim=1)
        tiny = torch.finfo(before.dtype).tiny
        return gradients, before / squared.clamp_min(tiny), before

    def _pyramid(self, stages: list[Tensor]) -> list[Tensor]:
        """Level maps from the backbone's maps. The neck runs in evaluation mode,
        so that its normalisation statistics stay."""
        outputs: dict[str, Sequence[Tensor]] = {'backbone': stages}
        neck = self._student.neck
        if neck is not None:
            with evaluating(neck):
                outputs['neck'] = as_maps(neck(tuple(stages)))
        return [outputs[level.module][level.index] for level in self._levels]

    def _full_loss(self, maps: list[Tensor]) -> Tensor:
        """(B, L) losses of level maps."""
        return torch.stack([
            self._losses.compare(i, m) for i, m in enumerate(maps)], dim=1)
