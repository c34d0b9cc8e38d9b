"""The dataclasses and protocols between the parts of the package.

Shapes: ``B`` images in the batch, ``L`` levels (finest first), ``T`` steps of
an episode, ``2^L`` subsets of levels. A *subset index* is an integer in
``[0, 2^L)`` whose bit ``i`` says whether level ``i`` belongs to the subset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from tensordict import TensorClass
from torch import Tensor

from mmrlkd.rl.rollout import Rollout


@dataclass(frozen=True)
class LevelSpace:
    """The levels of a distillation, and the limits of a selection; constant once
    the models are built.

    Attributes:
        names: level names, finest first, e.g. ``('P2', 'P3', 'P4', 'P5')``.
        costs: cost of each level, all > 0, in one unit.
        budget: largest total cost an image may use, in the same unit.
        level_channels: width of the student's map at each level.
        global_channels: width of the student's deepest map.
        strides: pixels of the image for one position of each level's map;
            empty if no policy needs them.
        min_levels: smallest number of levels of an image; 0 or 1.
        normalize: weights of the selected levels: ``'image'``, those of an image
            sum to one; ``'none'``, each is 1/L, so that an image with fewer
            levels has a smaller loss.
        context: numbers in :attr:`State.context`.
    """
    names: tuple[str, ...]
    costs: tuple[float, ...]
    budget: float
    level_channels: tuple[int, ...]
    global_channels: int
    strides: tuple[float, ...] = ()
    min_levels: int = 1
    normalize: str = 'image'
    context: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def limited(self, budget: float | None) -> 'LevelSpace':
        """The same levels with another budget; None: with theirs."""
        return self if budget is None else replace(self, budget=budget)

    def weights(self, levels: Tensor) -> Tensor:
        """(…, L) weights of the selected ``levels`` (…, L) bool."""
        if self.normalize == 'none':
            return levels / len(self)
        return levels / levels.sum(-1, keepdim=True).clamp(min=1)


class State(TensorClass):
    """The observation of a batch of images at one step of their episodes.

    A tensor tree of batch size (B,), or (T, B) over whole episodes:
    ``states[t]`` is a step, ``torch.stack`` joins steps.

    Attributes:
        global_feature: (B, G), average-pooled deepest map of the student.
        level_features: (B, C_1 + … + C_L), average-pooled level maps.
        loss: (B,), mean distillation loss of the levels selected so far, each
            in units of its own running mean; 0 while nothing is selected.
        level_losses: (B, L), the same losses by level; 0 where not selected.
        selected: (B, L) bool, levels selected so far.
        budget_left: (B,), share of the budget not spent yet, in [0, 1].
        step: (B,) int64, index of the step, in [0, T).
        context: (B, K), scaled descriptors of the images.
        action_mask: (B, 2^L) bool, the subsets that may be held after this
            step. After the last step it is not used.
    """
    global_feature: Tensor
    level_features: Tensor
    loss: Tensor
    level_losses: Tensor
    selected: Tensor
    budget_left: Tensor
    step: Tensor
    context: Tensor
    action_mask: Tensor


@dataclass(frozen=True)
class Selection:
    """The levels of each image, and their weights.

    Attributes:
        levels: (B, L) bool. On the CPU if it does not depend on the images, so
            that the host does not wait for the device.
        weights: (B, L) float on the model's device, 0 where not selected.
    """
    levels: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Choice:
    """What a selector chose for a batch.

    Attributes:
        selection: the levels of each image.
        episode: the episodes that were played to choose them, without rewards;
            None if nothing will be learned from them.
    """
    selection: Selection
    episode: Rollout | None = None


@dataclass(frozen=True)
class Boxes:
    """The bounding boxes of the objects of a batch.

    Attributes:
        corners: (B, K, 4) x1, y1, x2, y2 as shares of the padded image's
            width and height, in [0, 1]; K >= 1.
        valid: (B, K) bool, False where there is no box.
    """
    corners: Tensor
    valid: Tensor

    def take(self, index: Tensor | None) -> 'Boxes':
        """The boxes of the images ``index``; of all images for None."""
        if index is None:
            return self
        return Boxes(self.corners.index_select(0, index),
                     self.valid.index_select(0, index))

    @staticmethod
    def of(boxes: Sequence[Tensor], image_size: Sequence[int],
           device: torch.device | str) -> 'Boxes':
        """Gather the boxes of B images.

        Args:
            boxes: B times (k, 4) x1, y1, x2, y2 in pixels.
            image_size: (h, w) of the padded images.
            device: for the result.
        """
        height, width = image_size
        counts = [len(each) for each in boxes]
        most = max(1, *counts)
        corners = torch.stack([
            F.pad(each.float(), (0, 0, 0, most - count))
            for each, count in zip(boxes, counts, strict=True)])
        sides = torch.tensor([width, height, width, height])
        valid = torch.arange(most) < torch.tensor(counts)[:, None]
        return Boxes(
            corners.to(device) / sides.to(device, non_blocking=True),
            valid.to(device, non_blocking=True))


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one way of using and training the selector.

    Attributes:
        name: for the log.
        share: of the student's updates that are made in it, in (0, 1].
        choose: distil what the selector chooses; otherwise all levels with
            equal weights.
        learn_every: the selector learns from every n-th iteration, which
            computes all levels for the reward; 0: it does not learn. Without
            ``choose`` it learns from the choice that it would have made.
        student_every: the student is updated every n-th iteration.
        freeze_backbone: the student's backbone takes no gradient and keeps
            its statistics.
        lr_factor: multiplies the student's learning rate when the phase begins.
        distil: distil at all; otherwise the teacher does not run, and the loss
            is the student's own.
    """
    name: str
    share: float
    choose: bool = True
    learn_every: int = 1
    student_every: int = 1
    freeze_backbone: bool = False
    lr_factor: float = 1.0
    distil: bool = True


class LossSource(Protocol):
    """Distillation losses (B, L), each computed when it is first asked for."""

    def compute(self, levels: Tensor) -> Tensor:
        """Compute the losses of ``levels`` (B, L) bool, with gradient.

        Returns:
            (B, L), detached, in units of each level's running mean; 0 where
            not computed yet.
        """
        ...

    def compute_all(self) -> Tensor:
        """(B, L), the same for all levels. Expensive, because it also computes
        levels that are not selected afterwards."""
        ...

    def compute_shares(self) -> Tensor:
        """(B, L), of all levels, in one unit for all: the running mean of their
        sum."""
        ...


class Signals(Protocol):
    """The quantities of a batch that a reward may use. None of them depends on
    the action."""

    def discrepancy(self) -> Tensor:
        """(B, L) distillation loss of *all* levels, detached, not normalised."""
        ...

    def alignment(self) -> Tensor:
        """(B, L) inner product of the task loss's gradient and the level loss's
        gradient at the student's map of the image and level."""
        ...

    def after_step(self, levels: Tensor, step: float) -> Tensor:
        """(B,) full-pyramid loss, the sum of :meth:`discrepancy` over levels,
        after a virtual student step of relative size ``step`` on ``levels``
        (B, L) bool."""
        ...

    def describe(self, name: str) -> Tensor:
        """(B,) the descriptor ``name`` of each image, detached; one of those that
        the selector named in :attr:`~.selectors.Selector.descriptors` or
        ``context``."""
        ...

    def step_effect(self, order: int) -> Tensor:
        """(L,) derivative of the task loss on held-out images by the weight of
        each level in the student's next step, from this rank's batch. It is
        negative if distilling the level helps. Its unit depends on the models
        and their losses, so use ratios only.

        Args:
            order: 1 takes the held-out gradient at the student's parameters, 2
                at those after its next step.
        """
        ...
