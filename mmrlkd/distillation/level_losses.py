"""The distillation losses of one batch, computed where they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.teacher.necks import take
from mmrlkd.structures import Boxes


@dataclass(frozen=True)
class Work:
    """How many images each level was worked on for; L numbers each.

    Attributes:
        teacher: images whose level the teacher computed.
        forward: images whose student and teacher maps were compared.
        backward: those of them that keep a graph for the gradient.
    """
    teacher: tuple[int, ...]
    forward: tuple[int, ...]
    backward: tuple[int, ...]


@dataclass(frozen=True)
class _Piece:
    """Losses (n,) of one level for the samples ``index``, None for all."""
    level: int
    index: Tensor | None
    losses: Tensor


class LevelLosses:
    """Losses (B, L) of a batch; a cell is computed when first asked for.

    Which cells are missing decides the shapes of the work, so asking waits
    for the device once, unless the levels are named on the CPU.

    Args:
        maps: the student's maps, L times (B, C_i, H_i, W_i).
        teacher: its pyramid for the same images.
        links: a :class:`.links.LevelLinks` for each level.
        scale: (L,) running mean of each level's loss.
        differentiable: whether gradients to the student are wanted of what
            is required.
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
        self._known = torch.zeros(batch, len(maps), dtype=torch.bool)
        self._required = torch.zeros_like(self._known)
        self._values = torch.zeros(batch, len(maps), device=device)
        self._pieces: list[_Piece] = []
        self._forward = [0] * len(maps)
        self._backward = [0] * len(maps)

    @property
    def known(self) -> Tensor:
        """(B, L) bool on the CPU: the cells computed so far."""
        return self._known

    @property
    def required(self) -> list[bool]:
        """For each level, whether any of its cells was required."""
        return self._required.any(dim=0).tolist()

    @property
    def work(self) -> Work:
        """What was done so far, for the selection and for rewards."""
        return Work(tuple(self.teacher.computed), tuple(self._forward),
                    tuple(self._backward))

    @property
    def required_work(self) -> Work:
        """What the required cells take by themselves, had nothing else been
        looked at."""
        images = self._required.sum(dim=0).tolist()
        teacher = [0] * len(images)
        for number, links in zip(images, self._links, strict=True):
            for link in links:
                teacher[link.teacher] += number
        return Work(
            tuple(teacher), tuple(images),
            tuple(n * self._differentiable for n in images))

    def compare(self, i: int, maps: Tensor,
                index: Tensor | None = None) -> Tensor:
        """(n,) losses of student maps at level ``i`` against the teacher's.

        Args:
            i: the level.
            maps: (n, C_i, H_i, W_i), the student's maps of these samples.
            index: (n,) which samples of the batch they are; None for all.
        """
        self._forward[i] += len(maps)
        if torch.is_grad_enabled() and maps.requires_grad:
            self._backward[i] += len(maps)
        boxes = None if self._boxes is None else self._boxes.take(index)
        losses = [
            link(maps, self.teacher.level(link.teacher, index), boxes)
            for link in self._links[i]
        ]
        return torch.stack(losses).mean(dim=0)

    def require(self, levels: Tensor) -> Tensor:
        """Compute the cells of ``levels`` (B, L) bool, with their gradient.

        Returns:
            (B, L), detached, in units of each level's running mean; 0 where
            not known.
        """
        levels = levels.to('cpu')
        missing = levels & ~(
            self._required if self._differentiable else self._known)
        with torch.set_grad_enabled(self._differentiable):
            self._pieces += self._compute(missing)
        self._required |= levels
        return self._values / self._scale

    def survey(self) -> Tensor:
        """Compute the cells not known yet, without gradient.

        Returns:
            (B, L), detached, in units of each level's running mean.
        """
        with torch.no_grad():
            self._compute(~self._known)
        return self._values / self._scale

    def _compute(self, missing: Tensor) -> list['_Piece']:
        pieces = []
        for i in missing.any(dim=0).nonzero().flatten().tolist():
            column = missing[:, i]
            if bool(column.all()):
                index, maps = None, self.maps[i]
            else:
                index = column.nonzero().flatten().to(
                    self._values.device, non_blocking=True)
                maps = take(self.maps[i], index)
            losses = self.compare(i, maps, index)
            pieces.append(_Piece(i, index, losses))
            rows = slice(None) if index is None else index
            self._values[rows, i] = losses.detach()
        self._known |= missing
        return pieces

    def values(self) -> Tensor:
        """(B, L) raw losses, detached; 0 where not known."""
        return self._values

    def weighted(self, weights: Tensor) -> Tensor:
        """(L,) each level's loss: weighted by sample, meaned over the batch.

        Args:
            weights: (B, L), 0 where a cell was not required.
        """
        return torch.stack(self.terms(weights))

    def terms(self, weights: Tensor) -> list[Tensor]:
        """L 0-dim losses, as :meth:`weighted`; the gradient of one runs
        through the work of its level alone."""
        if not self._differentiable:
            return list((weights * self._values).sum(dim=0) / len(weights))
        totals: list[Tensor] = [weights.new_zeros(()) for _ in self.maps]
        for piece in self._pieces:
            column = take(weights[:, piece.level], piece.index)
            totals[piece.level] = (
                totals[piece.level] + (column * piece.losses).sum())
        return [total / len(weights) for total in totals]
