"""Choosing a setting for an image and a budget, as an environment of
:mod:`mmrlkd.rl`: episodes of one step, whose rewards a table knows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmrlkd.rl import Gains, Nodes, Outcome

from .controller import BudgetObservation
from .latency import LatencyModel
from .reward import BudgetReward
from .table import ProfileTable


@dataclass(frozen=True, eq=False)
class Decisions:
    """Pairs of an image and a budget, one for each decision; B of them.

    Attributes:
        observation: (B,) what the controller sees; its mask has the settings
            predicted to fit, or the cheapest one where none is.
        feasible: (B,) bool, whether any is predicted to fit.
        reward: (B, S), of every setting; NaN where it was not measured.
        image: (B,), index of the image in its table.
    """
    observation: BudgetObservation
    feasible: Tensor
    reward: Tensor
    image: Tensor

    def __len__(self) -> int:
        return len(self.feasible)

    def take(self, chosen: Tensor) -> 'Decisions':
        """Those of the indices (B',)."""
        observation: Any = self.observation[chosen]
        return Decisions(observation, self.feasible[chosen],
                         self.reward[chosen], self.image[chosen])


class BudgetTask:
    """What a controller is trained for: a table, a latency model, a reward.

    Args:
        table: of the images.
        latency: says which settings fit.
        reward: of each setting.
        overhead_ms: time of a decision; with the table's
            :attr:`~.table.ProfileTable.looking` it is part of the latency.
    """

    def __init__(self, table: ProfileTable, latency: LatencyModel,
                 reward: BudgetReward, overhead_ms: float) -> None:
        self.table = table
        self.latency = latency
        self.reward = reward
        self.overhead_ms = overhead_ms
        self.added = overhead_ms + table.looking  # (S,)

    def decisions(self, images: Tensor, budgets: Tensor) -> Decisions:
        """Those of images (B,) int64 with budgets (B,) in ms."""
        table = self.table
        features = table.features[images]
        mask, feasible = self.latency.allowed(features, budgets, self.added)
        return Decisions(
            BudgetObservation(
                features=features, context=table.context[images], budget=budgets,
                action_mask=mask, batch_size=[len(images)]),
            feasible, self.rewards(images, budgets), images)

    def rewards(self, images: Tensor, budgets: Tensor, looked: bool = True
                ) -> Tensor:
        """(B, S) of every setting.

        Args:
            images: (B,) int64.
            budgets: (B,) in ms.
            looked: whether the image was looked at, which takes time.
        """
        table, median = self.table, self.latency.median
        latency = table.latency[images] + (self.added if looked else 0.)
        return self.reward(table.quality[images], latency, budgets,
                           median / median[table.space.full])


class BudgetEnvironment:
    """An :class:`~mmrlkd.rl.Environment` that plays decisions.

    Args:
        decisions: of a complete table.
        group_size: episodes of each decision, side by side: a group of GRPO has
            one image and one budget.
    """
    horizon = 1

    def __init__(self, decisions: Decisions, group_size: int = 1) -> None:
        self.decisions = decisions.take(
            torch.arange(len(decisions)).repeat_interleave(group_size))
        self.batch_size = len(self.decisions)
        self.device = self.decisions.reward.device

    def reset(self) -> BudgetObservation:
        """See :class:`~mmrlkd.rl.Environment`."""
        return self.decisions.observation

    def step(self, action: Tensor) -> Outcome:
        """Run the settings ``action`` (B,) int64; the episodes end."""
        reward = self.decisions.reward.gather(1, action[:, None]).squeeze(1)
        return Outcome(self.decisions.observation, reward)


class SettingTree:
    """The :class:`~mmrlkd.rl.DecisionTree` of one choice among settings.

    Args:
        settings: S.
    """

    def __init__(self, settings: int) -> None:
        self.actions = torch.arange(settings)

    def nodes(self, known: BudgetObservation) -> list[Nodes]:
        """See :class:`~mmrlkd.rl.DecisionTree`."""
        actions = self.actions.to(known.budget.device)
        return [Nodes(known[:, None], torch.zeros_like(actions), actions)]


def gains_of(decisions: Decisions) -> Gains:
    """The decisions with the reward of every setting, for
    :class:`~mmrlkd.rl.ExpectedReward`.

    A masked setting has probability 0. Its reward, often a violation's, would
    only raise the unit of the rewards and the regret: it is replaced by the mean
    of the others.
    """
    mask = decisions.observation.action_mask
    allowed = decisions.reward.where(mask, 0.)
    mean = allowed.sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    return Gains(
        known=decisions.observation, gain=decisions.reward.where(mask, mean),
        weight=torch.ones(len(decisions)), batch_size=[len(decisions)])
