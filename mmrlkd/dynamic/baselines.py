"""What a controller is compared with.

A *way* of running images is (N, S): with what probability each of N images is run
in each of S settings. One-hot rows choose; others stand for a choice at random, whose
numbers are then known exactly.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .deployed import BudgetedController
from .table import ProfileTable


def controlled(controller: BudgetedController, table: ProfileTable,
               budget_ms: float) -> Tensor:
    """(N, S) way of a controller with one budget for all images."""
    if not controller.looks(budget_ms)[0]:
        return bounded(controller, table, budget_ms)
    return _one_hot(controller.choose(
        table.features, table.context if table.context.shape[1] else None,
        budget_ms), table)


def bounded(controller: BudgetedController, table: ProfileTable,
            budget_ms: float) -> Tensor:
    """(N, S) way of the setting that a controller chooses without looking: the best
    for all training images whose bound is within the budget."""
    return static(table, int(controller.unseen(budget_ms).settings[0]))


def random_feasible(controller: BudgetedController, table: ProfileTable,
                    budget_ms: float) -> Tensor:
    """(N, S) way of choosing evenly among what the controller may choose from."""
    allowed = controller.allowed(table.features, budget_ms).float()
    return allowed / allowed.sum(1, keepdim=True)


def oracle(table: ProfileTable, budget_ms: float, overhead_ms: float | Tensor = 0.
           ) -> Tensor:
    """(N, S) way of whoever knows the table: the best quality within the budget
    for each image, the fastest of equally good ones; the fastest setting where
    none fits. Latencies include the time of a decision, so that no controller of
    this overhead is better."""
    latency = table.latency + overhead_ms
    fits = latency <= budget_ms
    best = table.quality.masked_fill(~fits, -torch.inf)
    fastest = latency.masked_fill(best < best.amax(1, keepdim=True), torch.inf)
    return _one_hot(torch.where(
        fits.any(1), fastest.argmin(1), latency.argmin(1)), table)


def best_static(training: ProfileTable, budget_ms: float, quantile: float) -> int:
    """The setting that is best for all training images at once: of the highest
    mean quality among those that keep the budget on a share ``quantile`` of the
    images; of the lowest mean latency where none does."""
    latency = training.latency.mean(0)
    fits = (training.latency <= budget_ms).float().mean(0) >= quantile
    if not fits.any():
        return int(latency.argmin())
    quality = training.quality.mean(0).masked_fill(~fits, -torch.inf)
    return int(latency.masked_fill(quality < quality.amax(), torch.inf).argmin())


def static(table: ProfileTable, setting: int) -> Tensor:
    """(N, S) way of one setting for all images."""
    return _one_hot(torch.full((len(table), ), setting), table)


class Hull(NamedTuple):
    """Settings on the upper concave hull of mean quality over mean latency, by
    latency; each dearer one is better.

    Attributes:
        settings: (H,) int64.
        latency: (H,) in ms, mean over the training images.
    """
    settings: Tensor
    latency: Tensor

    @classmethod
    def of(cls, training: ProfileTable) -> 'Hull':
        """That of the training images."""
        latency, quality = training.latency.mean(0), training.quality.mean(0)
        kept: list[int] = []
        for s in sorted(range(len(latency)),
                        key=lambda s: (latency[s].item(), -quality[s].item())):
            if kept and quality[s] <= quality[kept[-1]]:
                continue
            while len(kept) > 1 and _below(kept[-2], kept[-1], s, latency, quality):
                kept.pop()
            kept.append(s)
        settings = torch.tensor(kept)
        return cls(settings, latency[settings])

    def mixed(self, table: ProfileTable, latency_ms: float) -> Tensor:
        """(N, S) way of two neighbouring settings at random, for which image says
        nothing, with the chances that make the mean latency ``latency_ms``: the
        best that settings can do without seeing the image. Outside of the hull,
        its nearest setting."""
        if len(self.latency) == 1:
            return static(table, int(self.settings[0]))
        right = int(torch.searchsorted(self.latency, latency_ms).clamp(
            1, len(self.latency) - 1))
        low, high = self.latency[right - 1:right + 1].tolist()
        chance = min(max((latency_ms - low) / (high - low), 0.), 1.)
        return ((1 - chance) * static(table, int(self.settings[right - 1]))
                + chance * static(table, int(self.settings[right])))


def _below(left: int, middle: int, right: int, x: Tensor, y: Tensor) -> bool:
    """Whether a point is not above the line between two others."""
    return bool((y[middle] - y[left]) * (x[right] - x[left])
                <= (y[right] - y[left]) * (x[middle] - x[left]))


def _one_hot(settings: Tensor, table: ProfileTable) -> Tensor:
    return F.one_hot(settings, len(table.space)).float()
