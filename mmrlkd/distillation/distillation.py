"""The links between a student's pyramid and a teacher's, and what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import Level, StudentMaps
from mmrlkd.distillation.selection.descriptors import Describer, Descriptions
from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.distillation.selection.selectors import Selector
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.teacher.online import Teacher
from mmrlkd.registry import SELECTORS
from mmrlkd.structures import Boxes, Choice, LevelSpace

from .costs import count_flops, price_levels
from .level_losses import LevelLosses, Work
from .pairs import build_links
from .unregistered import UnregisteredModule

#: Momentum of the running mean of each level's loss.
SCALE_MOMENTUM = 0.05


class Distillation(nn.Module):
    """The links to a teacher, and their prices.

    Args:
        student: the student's adapter.
        levels: the student's levels, finest first.
        teacher: aligned with them; stays unregistered.
        loss: config of the :class:`~mmrlkd.distillation.losses.LevelLoss`.
        connector: config of the :class:`~mmrlkd.distillation.connectors.Connector`.
        recipe: for some levels, what differs: see :func:`.pairs.build_links`.
        costs: see :func:`.costs.price_levels`.
        budget: largest cost an image may use; None allows every level.
        min_levels: see :class:`~mmrlkd.structures.LevelSpace`.
        normalize: likewise.
        context: names of the descriptors in states.
        descriptors: names of those that rewards use.
    """

    level_costs: Tensor
    running_mean: Tensor

    def __init__(self, student: TaskAdapter, levels: Sequence[Level],
                 teacher: Teacher, loss: dict, connector: dict,
                 recipe: Mapping[str, Mapping[str, Any]],
                 costs: str | Mapping[str, float],
                 budget: float | None, min_levels: int = 1,
                 normalize: str = 'image', context: Sequence[str] = (),
                 descriptors: Sequence[str] = ()) -> None:
        super().__init__()
        self._student = student
        self._teacher = UnregisteredModule(teacher)
        self.levels = tuple(levels)
        self.links = build_links(
            levels, teacher.levels, loss, connector, recipe)
        self._needs_boxes = any(
            link.loss.needs_boxes for links in self.links for link in links)
        if self._needs_boxes and not student.has_boxes:
            raise ValueError(
                'loss is one that needs the boxes of the objects, which '
                f'{student.task} does not have; accepted: another loss.')
        self.flops = count_flops(teacher, self.levels, self.links)
        priced = price_levels(costs, teacher.levels, self.flops)
        # The state always has the deepest stage, even if it is no level.
        stages = [level for level in student.levels.values()
                  if level.in_backbone]
        self.space = LevelSpace(
            names=tuple(level.name for level in levels),
            costs=priced,
            budget=sum(priced) if budget is None else budget,
            level_channels=tuple(level.channels for level in levels),
            global_channels=stages[-1].channels,
            strides=tuple(level.stride for level in levels),
            min_levels=min_levels, normalize=normalize, context=len(context))
        self.describer = Describer(
            [*context, *descriptors], student, teacher.adapter)
        self._everything = UnregisteredModule(_all_levels(self.space))
        # Buffers, so that they move with the model; not persistent, because the
        # state dict is the student's.
        for name, values in (('level_costs', priced),
                             ('running_mean', [0.0] * len(priced))):
            self.register_buffer(
                name, torch.tensor(values, dtype=torch.float32),
                persistent=False)

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher."""
        return self._teacher.module

    @property
    def scale(self) -> Tensor:
        """(L,) running mean of each level's loss; 1 where none was seen."""
        return torch.where(
            self.running_mean > 0, self.running_mean,
            torch.ones_like(self.running_mean))

    def gflops(self, work: Work) -> float:
        """Counted GFLOPs of some work, each image as large as the probe."""
        kinds = ((work.teacher, self.flops.teacher),
                 (work.forward, self.flops.forward),
                 (work.backward, self.flops.backward))
        return sum(images * flops for done, each in kinds
                   for images, flops in zip(done, each, strict=True)) / 1e9

    def boxes(self, images: Tensor, samples: list) -> Boxes | None:
        """The objects' boxes, if a loss needs them; otherwise None.

        Args:
            images: (B, 3, H, W), preprocessed.
            samples: the annotations, one for each image.
        """
        if not self._needs_boxes:
            return None
        boxes = self._student.boxes(samples)
        return None if boxes is None else Boxes.of(
            boxes, tuple(images.shape[-2:]), images.device)

    def compare(self, maps: Sequence[Tensor], pyramid: LazyPyramid,
                differentiable: bool, boxes: Boxes | None = None
                ) -> LevelLosses:
        """The losses of a batch; no level is computed yet.

        Args:
            maps: the student's level maps.
            pyramid: the teacher's, of the same images.
            differentiable: whether gradients to the student are wanted.
            boxes: of the same images, if a loss needs them.
        """
        return LevelLosses(
            maps, pyramid, self.links, self.scale, differentiable, boxes)

    @torch.no_grad()
    def select(self, selector: Selector | None, maps: StudentMaps,
               losses: LevelLosses,
               descriptions: Descriptions) -> Choice:
        """Which levels each image learns from.

        Args:
            selector: bound to :attr:`space`; None for all levels, equally.
            maps: what the student computed of the batch.
            losses: of the same batch.
            descriptions: likewise.
        """
        if selector is None:
            selector = self._everything.module
        choice = selector.select(self.begin(
            selector, maps, losses, descriptions, selector.adaptive))
        if not isinstance(choice, Choice):
            raise TypeError(
                f'{type(selector).__name__}.select returned a '
                f'{type(choice).__name__}; accepted: Choice(selection).')
        return choice

    def begin(self, selector: Selector, maps: StudentMaps,
              losses: LevelLosses, descriptions: Descriptions,
              described: bool = True) -> DecisionProcess:
        """The episodes of a batch before their first step, see :meth:`select`.

        Args:
            selector: likewise.
            maps: likewise.
            losses: likewise.
            descriptions: likewise.
            described: whether the states show the maps. A selector that does not
                depend on the images does not look at them.
        """
        pooled = [each.mean(dim=(2, 3)).float() if described else
                  each.new_empty(len(each), 0).float()
                  for each in (maps.stages[-1], *maps.levels)]
        return DecisionProcess(
            self.space, pooled[0], torch.cat(pooled[1:], 1),
            losses, selector.horizon,
            descriptions.context(selector.context) if selector.context
            else None)

    @torch.no_grad()
    def track(self, losses: LevelLosses, by_image: bool = False) -> None:
        """Move the running means towards a batch's losses.

        Levels that were not computed keep theirs; so do levels whose loss is not
        finite. The means are equal on all ranks.

        Args:
            losses: of the batch.
            by_image: whether the selection depends on the images. Then the
                selected cells are a biased sample: a policy that selects P2
                where its loss is large would make its mean too large. So the
                means move only if all levels were computed.
        """
        if by_image and not losses.computed_all:
            return
        # One all_reduce for sums and counts: ranks may know different cells.
        values = losses.values()
        known = losses.known.to(values.device, non_blocking=True)
        finite = known & torch.isfinite(values)
        sums = torch.stack([
            values.where(finite, values.new_zeros(())).sum(dim=0),
            finite.sum(dim=0).to(values.dtype),
        ])
        all_reduce(sums)
        mean = sums[0] / sums[1].clamp_min(1)
        moved = torch.where(
            self.running_mean > 0,
            self.running_mean.lerp(mean, SCALE_MOMENTUM), mean)
        self.running_mean.copy_(
            torch.where(sums[1] > 0, moved, self.running_mean))


def _all_levels(space: LevelSpace) -> Selector:
    """The selector of phases without ``choose``: all levels with equal weights,
    whatever the budget."""
    uniform = SELECTORS.build(dict(type='mmrlkd.UniformSelector'))
    uniform.bind(replace(space, budget=sum(space.costs)))
    return uniform
