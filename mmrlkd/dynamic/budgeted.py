"""A model that runs each image as a controller chooses, within a latency budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import refuse
from mmrlkd.files import digest

from .deployed import BudgetedController
from .knobs import Value
from .limits import Budgets, Choice, each_budget
from .parts import BudgetParts
from .run import run_settings

#: Budgets whose decisions are kept.
_KEPT = 1024


@dataclass(frozen=True)
class Decision:
    """How an image was run, and why.

    Attributes:
        setting: index into the controller's space.
        values: of each knob, by its name.
        budget_ms: that was given.
        predicted_ms: upper quantile of the setting's latency on this image, with
            the time of the decision.
        feasible: whether a setting was predicted to fit into the budget; where
            none is, the cheapest one is run.
        looked: whether the setting was chosen by what is seen of the image; see
            :class:`.blind.BlindRule`.
    """
    setting: int
    values: dict[str, Value]
    budget_ms: float
    predicted_ms: float
    feasible: bool
    looked: bool


class BudgetedModel:
    """Looks at images, has a controller choose how to run them, and runs them so.

    The stage that the controller looks at is part of the model's own run: where
    the chosen setting allows it, the run continues from there. Where looking does
    not pay at a budget, it does not look.

    Args:
        parts: the model with its knobs and its image feature.
        controller: trained for them.

    Raises:
        ValueError: it was trained for other knobs or another image feature.
    """

    def __init__(self, parts: BudgetParts, controller: BudgetedController) -> None:
        header, space = controller.header, parts.space
        if controller.space.header() != space.header():
            refuse('budget', 'knobs', space.header(),
                   f'those of the controller, {controller.space.header()}')
        for key, value in parts.feature.describe().items():
            if header.feature.get(key, value) != value:
                refuse('budget.feature', key, value,
                       f'that of the controller, {header.feature[key]!r}')
        self.parts = parts
        self.controller = controller
        self._values = [space.values(setting) for setting in range(len(space))]
        #: Budgets repeat, and such a decision takes longer than all else around a run.
        self._without_looking = lru_cache(_KEPT)(self._decide_unseen)

    def with_controller(self, controller: BudgetedController) -> 'BudgetedModel':
        """The same model with another controller."""
        return BudgetedModel(self.parts, controller)

    def looking(self) -> 'BudgetedModel':
        """The same model, which looks at every image."""
        looking = self.controller.looking()
        return self if looking is self.controller else self.with_controller(looking)

    def check_budget(self, owner: str, budget_ms: Tensor) -> None:
        """Refuse budgets (B,) that are no numbers, or that nothing keeps.

        Raises:
            ValueError: one is.
        """
        lowest = self.controller.lowest_ms
        bad = ~(budget_ms >= lowest)  # NaN is bad
        if bad.any():
            cheapest = self.parts.space.describe(
                int(self.controller.latency.marginal.argmin()))
            refuse(owner, 'budget_ms', budget_ms[bad][0].item(),
                   f'numbers >= {lowest:.3g}, the ms that the cheapest '
                   f'setting ({cheapest}) takes')

    def preprocess(self, data: Any) -> dict[str, Any]:
        """A collated batch, normalised and on the model's device."""
        return self.parts.model.data_preprocessor(data, False)

    @torch.no_grad()
    def predict(self, batch: dict[str, Any], budget_ms: Budgets,
                context: Tensor | None = None) -> tuple[list, list[Decision]]:
        """Run a batch, each image in the setting chosen for it.

        Args:
            batch: of :meth:`preprocess`, B images.
            budget_ms: (B,) or one number.
            context: (B, C), or None without context.

        Returns:
            The B samples of the batch with their predictions, and how each was
            run.
        """
        parts, samples = self.parts, batch['data_samples']
        budgets = each_budget(budget_ms, len(samples))
        unseen, early = [self._without_looking(each) for each in budgets], None
        if None in unseen:
            early = parts.feature.compute(batch['inputs'], samples)
            seen = self._decisions(self.controller.decide(
                early.pooled, context, budgets), budgets, True)
        decisions = [each or seen[i] for i, each in enumerate(unseen)]
        samples = run_settings(
            parts.model, batch, parts.space, [each.setting for each in decisions],
            parts.feature, early)
        return samples, decisions

    @torch.no_grad()
    def predict_in(self, batch: dict[str, Any], settings: Sequence[int]) -> list:
        """Run a batch in given settings (B,), without looking or choosing."""
        return run_settings(
            self.parts.model, batch, self.parts.space, settings)

    def _decide_unseen(self, budget_ms: float) -> Decision | None:
        """How images of a budget are run that are not looked at; None if they are."""
        if self.controller.looks(budget_ms)[0]:
            return None
        return self._decisions(
            self.controller.unseen(budget_ms), [budget_ms], False)[0]

    def _decisions(self, choice: Choice, budgets: Sequence[float], looked: bool
                   ) -> list[Decision]:
        return [
            Decision(
                setting, self._values[setting], budget, predicted, feasible, looked)
            for setting, budget, predicted, feasible in zip(
                choice.settings.tolist(), budgets, choice.predicted_ms.tolist(),
                choice.feasible.tolist(), strict=True)]


def check_model(controller: BudgetedController, checkpoint: str | Path) -> None:
    """Refuse a controller that was trained for other weights.

    Raises:
        ValueError: it was; or the checkpoint is no file.
    """
    if not Path(checkpoint).is_file():
        refuse('budget', 'checkpoint', str(checkpoint), 'a file')
    wanted = controller.header.model
    if wanted and digest(checkpoint) != wanted:
        refuse('budget', 'checkpoint', str(checkpoint),
               'the file that was profiled, whose SHA-256 begins with '
               f'{wanted[:12]} (config {controller.header.config}); a controller '
               'is of one model')
