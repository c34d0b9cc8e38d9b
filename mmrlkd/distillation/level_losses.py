"""The distillation losses of one batch, computed on request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.teacher.necks import take
from mmrlkd.structures import Boxes


@dataclass(frozen=True)
class Work:
    """Number of images for which each level was computed; L numbers each.

    Attributes:
        teacher: images for which the teacher computed the level.
        forward: images whose student and teacher maps were compared.
        backward: those of them with a backward pass.
    """
    teacher: tuple[int, ...]
    forward: tuple[int, ...]
    backward: tuple[int, ...]

    def computed_in(self, done: 'Work') -> 'Work':
        """This work without the maps that the teacher did not compute among all
        that was ``done``: a cache had them."""
        return replace(
            self, teacher=tuple(map(min, self.teacher, done.teacher)))


@dataclass(frozen=True)
class _Piece:
    """Losses (n,) of one level with their graph, for the images ``rows``.

    Attributes:
        level: which level.
        rows: (n,) int64 on the CPU; None for the whole batch.
        losses: (n,).
    """
    level: int
    rows: Tensor | None
    losses: Tensor


class LevelLosses:
    """Losses (B, L) of a batch; a cell is computed at the first request.

    A cell is computed once. So where a selector asks for all losses before it
    selects, the backward pass of a level runs over the whole batch as soon as
    one image selects it. To compute the selected cells again, with a graph of
    their rows alone, would save work only below a rate of about two thirds,
    and train other losses than were chosen by where a loss draws masks.

    Which cells are missing decides the shapes of the work, so
    :meth:`compute` waits for the device, unless its levels lie on the CPU.
    Nothing else here does.

    Args:
        maps: the student's maps, L times (B, C_i, H_i, W_i).
        teacher: its pyramid for the same images.
        links: a :class:`.pairs.LevelLinks` for each level.
        scale: (L,) running mean of each level's loss.
        differentiable: whether gradients to the student are wanted.
        boxes: of the same images, for losses that need them.
    """

    def __init__(self, maps: Sequence[Tensor], teacher: LazyPyramid,
                 links: nn.ModuleList, scale: Tensor, differentiable: bool,
                 boxes: Boxes | None = None) -> None:
        self.maps = maps
        self.teacher = teacher
        self._links = links
        self._boxes = boxes
        self._scale = scale
        self._differentiable = differentiable
        batch, device = len(maps[0]), maps[0].device
        #: Whether every level was computed, whatever is selected.
        self.computed_all = False
        self._known = torch.zeros(batch, len(maps), dtype=torch.bool)
        self._with_graph = torch.zeros_like(self._known)
        self._values = torch.zeros(batch, len(maps), device=device)
        self._pieces: list[_Piece] = []
        self._forward = [0] * len(maps)
        self._backward = [0] * len(maps)

    @property
    def known(self) -> Tensor:
        """(B, L) bool on the CPU: the cells computed so far."""
        return self._known

    def work(self, selected: Tensor) -> Work:
        """Everything computed so far, for the selection and for rewards.

        Args:
            selected: (B, L) bool on the CPU, the selected cells.
        """
        # _backward has the calls of compare(). The pieces' backward pass is still
        # to come; a piece has one if any of its images was selected.
        backward = list(self._backward)
        for piece in self._pieces:
            column = selected[:, piece.level]
            if self.maps[piece.level].requires_grad and bool(
                    take(column, piece.rows).any()):
                backward[piece.level] += len(piece.losses)
        return Work(tuple(self.teacher.computed), tuple(self._forward),
                    tuple(backward))

    def work_of(self, selected: Tensor) -> Work:
        """The work of computing only the cells ``selected`` (B, L) bool on the
        CPU."""
        images = selected.sum(dim=0).tolist()
        teacher = [0] * len(images)
        for number, links in zip(images, self._links, strict=True):
            for link in links:
                teacher[link.teacher] += number
        return Work(
            tuple(teacher), tuple(images),
            tuple(n * self._differentiable for n in images))

    def compare(self, i: int, maps: Tensor,
                index: Tensor | None = None) -> Tensor:
        """(n,) losses of other student maps at level ``i``.

        Args:
            i: the level.
            maps: (n, C_i, H_i, W_i), the student's maps of these samples.
            index: (n,) which samples of the batch they are; None for all.
        """
        if torch.is_grad_enabled() and maps.requires_grad:
            self._backward[i] += len(maps)
        return self._compare(i, maps, index)

    def _compare(self, i: int, maps: Tensor, index: Tensor | None) -> Tensor:
        self._forward[i] += len(maps)
        boxes = None if self._boxes is None else self._boxes.take(index)
        losses = [
            link(maps, self.teacher.level(link.teacher, index), boxes)
            for link in self._links[i]
        ]
        return torch.stack(losses).mean(dim=0)

    def compute(self, levels: Tensor) -> Tensor:
        """Compute the cells of ``levels`` (B, L) bool, with their gradient.

        Returns:
            (B, L), detached, in units of each level's running mean; 0 where
            not known.
        """
        self._compute(levels.to('cpu'), self._differentiable)
        return self._values / self._scale

    def compute_all(self, graph: bool = True) -> Tensor:
        """Compute the cells not known yet.

        Args:
            graph: keep the graphs, if gradients to the student are wanted: cells
                that a selector requests before it selects may be selected.

        Returns:
            (B, L), detached, in units of each level's running mean.
        """
        self._compute(torch.ones_like(self._known),
                      graph and self._differentiable)
        self.computed_all = True
        return self._values / self._scale

    def compute_shares(self) -> Tensor:
        """Like :meth:`compute_all`, in one unit for all levels: the sum of
        their running means."""
        self.compute_all()
        return self._values / self._scale.sum()

    def _compute(self, levels: Tensor, graph: bool) -> None:
        # On the CPU, so that the host knows the shapes without waiting.
        missing = levels & ~(self._with_graph if graph else self._known)
        for i in missing.any(dim=0).nonzero().flatten().tolist():
            column = missing[:, i]
            rows, index = None, None  # the whole batch, without a copy
            if not bool(column.all()):
                rows = column.nonzero().flatten()
                index = rows.to(self._values.device, non_blocking=True)
            with torch.set_grad_enabled(graph):
                losses = self._compare(i, take(self.maps[i], index), index)
            self._values[slice(None) if index is None else index, i] = (
                losses.detach())
            if graph:
                self._pieces.append(_Piece(i, rows, losses))
        self._known |= missing
        if graph:
            self._with_graph |= missing

    def values(self) -> Tensor:
        """(B, L) raw losses, detached; 0 where not known."""
        return self._values

    def terms(self, levels: Tensor, weights: Tensor) -> list[Tensor]:
        """L 0-dim losses: weighted by sample, mean over the batch. Each has the
        graph of its own level only.

        Args:
            levels: (B, L) bool on the CPU, computed cells.
            weights: (B, L), 0 outside ``levels``.
        """
        # Without gradients there are no pieces.
        if not self._differentiable:
            return list((weights * self._values).sum(dim=0) / len(weights))
        totals: list[Tensor] = [weights.new_zeros(()) for _ in self.maps]
        for piece in self._pieces:
            # A level that no image selected stays out of the graph: with a
            # gradient of 0 instead of none, the optimizer would apply weight
            # decay and momentum to its connector.
            rows, losses = piece.rows, piece.losses
            column = levels[:, piece.level]
            held = take(column, rows)
            if not bool(held.any()):
                continue
            # A piece may have more images than were selected: greedy and GRPO
            # request all losses before they select.
            if not bool(held.all()):
                inner = held.nonzero().flatten()
                rows = inner if rows is None else rows[inner]
                losses = take(losses, inner.to(
                    losses.device, non_blocking=True))
            index = None if rows is None else rows.to(
                weights.device, non_blocking=True)
            totals[piece.level] = totals[piece.level] + (
                take(weights[:, piece.level], index) * losses).sum()
        return [total / len(weights) for total in totals]
