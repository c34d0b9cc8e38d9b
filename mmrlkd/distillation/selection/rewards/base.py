"""The reward of a step: progress on a potential, and cost not spent."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.rl import subset_table
from mmrlkd.structures import Signals


class Reward(ABC):
    r"""r_t = (ΔL_t + λ·saved_t) / (1 + λ).

    ΔL_t = L_t − L_{t+1} is what step ``t`` gained on the potential ``L``,
    so that an episode's gains telescope to what the final selection gained.
    saved_t = Σ cost_i (1 − a_i) / Σ cost_i, where ``a`` are the levels *added*
    at step ``t``. Counting all levels held so far would charge a level once
    for each step it is held, and make adding it early worse than late. With
    the added ones, an episode saves T − (cost of the final selection) / Σ
    cost_i: what was spent counts once, up to a constant.

    Args:
        efficiency: λ ≥ 0, weight of the cost; 0 rewards quality only.
    """

    #: Whether :meth:`Signals.alignment` or :meth:`Signals.after_step` is
    #: asked, which need gradients at the student's maps.
    needs_gradients: ClassVar[bool] = False
    #: Names of the descriptors that :meth:`Signals.describe` is asked for.
    descriptors: tuple[str, ...] = ()

    def __init__(self, efficiency: float = 0.5) -> None:
        self.efficiency = check_number(
            type(self).__name__, 'efficiency', efficiency, 0)

    @abstractmethod
    def potential(self, levels: Tensor, signals: Signals) -> Tensor:
        """The loss ``L`` that is left once ``levels`` are distilled.

        Args:
            levels: (…, B, L) bool.
            signals: of the batch of B images.

        Returns:
            (…, B), lower is better.
        """

    def update(self, signals: Signals) -> None:  # noqa: B027
        """Move running means, where there are some, towards a batch."""

    def gains(self, signals: Signals) -> Tensor:
        """(B, 2^L), what each subset of levels gains over selecting none."""
        some = self.potential(
            torch.zeros_like(signals.discrepancy(), dtype=torch.bool), signals)
        table = subset_table(signals.discrepancy().shape[1], some.device)
        left = self.potential(
            table[:, None].expand(-1, len(some), -1), signals)
        return some[:, None] - left.T

    def __call__(self, path: Tensor, costs: Tensor,
                 signals: Signals) -> Tensor:
        """Rewards of a batch of episodes.

        Args:
            path: (T + 1, …, B, L) bool, levels held before the first step
                (none) and after each step.
            costs: (L,) cost of each level, on the path's device.
            signals: of the batch.

        Returns:
            (T, …, B). Not finite where the signals is not; the learner drops
            such episodes.
        """
        left = self.potential(path, signals)
        gained = left[:-1] - left[1:]
        added = path[1:] & ~path[:-1]
        saved = 1 - (added * costs).sum(-1) / costs.sum()
        return (gained + self.efficiency * saved) / (1 + self.efficiency)
