"""Controls: a selector's choices are applied to other images than its own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import check_choice
from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.registry import SELECTORS
from mmrlkd.rl import Diagnostics
from mmrlkd.structures import Choice, LevelSpace, Selection, Signals

from .base import Selector


@dataclass(frozen=True)
class ControlChoice(Choice):
    """The choice that is distilled, and the one that it was derived from.

    Attributes:
        own: the choice of the selector under control.
    """
    own: Choice | None = None


@SELECTORS.register_module()
class ControlSelector(Selector):
    """Applies the choices of a selector to other images of the same batch.

    It measures what choosing *by the image* is worth. A control has the same
    schedule, learning and rates as the selector that it wraps, and removes only
    the dependence of the choice on the image. The wrapped selector learns from
    its own choice: the gains of the subsets do not depend on what is distilled.

    - ``'shuffled'``: the choices of a batch, levels and weights, are permuted
      at random among its images. Number of levels, their combinations and the
      cost of the batch stay the same.
    - ``'opposite'``: the image that got the dearest choice gets the cheapest,
      and so on; images of equal cost count in their order in the batch.
    - ``'rates'``: the column of each level is permuted by itself. The rate of
      each level and the cost of the batch stay the same, combinations do not.
      An image may get no level at all, even with ``min_levels=1``, or exceed
      the budget of an image. Its weights follow from the levels that it gets,
      :meth:`~mmrlkd.structures.LevelSpace.weights`.

    Args:
        selector: config of the wrapped selector.
        control: one of the above.
    """

    _costs: Tensor

    def __init__(self, selector: dict[str, Any],
                 control: str = 'shuffled') -> None:
        super().__init__()
        self.control = check_choice(
            'ControlSelector', 'control', control,
            ('shuffled', 'opposite', 'rates'))
        self.selector: Selector = SELECTORS.build(selector)
        self.uses_teacher = self.selector.uses_teacher
        self.adaptive = self.selector.adaptive
        self.learns = self.selector.learns
        self.needs_held_out = self.selector.needs_held_out
        self.horizon = self.selector.horizon
        self.context = self.selector.context

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        self.selector.bind(space)
        self.register_buffer(
            '_costs', torch.tensor(space.costs), persistent=False)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Choice:
        own = self._wrapped().select(process)
        levels, weights = own.selection.levels, own.selection.weights
        # Random numbers are drawn on the CPU, so that a run is the same on any
        # device.
        if self.control == 'rates':
            order = torch.rand(levels.shape).argsort(0)
            levels = levels.gather(0, _to(order, levels))
            weights = self.space.weights(levels).to(weights)
        else:
            source = (torch.randperm(len(levels))
                      if self.control == 'shuffled' else self._opposite(levels))
            levels = levels[_to(source, levels)]
            weights = weights[_to(source, weights)]
        return ControlChoice(Selection(levels, weights), own.episode, own)

    def _opposite(self, levels: Tensor) -> Tensor:
        """(B,) int64: the image whose choice each image gets."""
        cost = (levels * self._costs.to(levels.device)).sum(-1)
        # The image of rank r in cost gets the choice of rank B − 1 − r.
        order = cost.argsort(stable=True)
        return torch.empty_like(order).scatter_(0, order, order.flip(0))

    def _wrapped(self) -> Selector:
        """The wrapped selector, after passing on ``learning``: that mode is set on
        this selector only."""
        self.selector.learning = self.learning
        return self.selector

    @property
    def needs_gradients(self) -> bool:
        return self._wrapped().needs_gradients

    @property
    def descriptors(self) -> tuple[str, ...]:
        return self.selector.descriptors

    def spend(self, choice: Choice) -> None:
        # Its cost is that of the own choice, over the batch.
        assert isinstance(choice, ControlChoice) and choice.own is not None
        self.selector.spend(choice.own)

    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        assert isinstance(choice, ControlChoice) and choice.own is not None
        return self._wrapped().observe(signals, choice.own)

    def learn(self) -> Diagnostics | None:
        return self._wrapped().learn()

    def set_progress(self, fraction: float) -> None:
        self.selector.set_progress(fraction)

    def run_state(self) -> dict[str, Any]:
        return self.selector.run_state()

    def load_run_state(self, state: dict[str, Any]) -> None:
        self.selector.load_run_state(state)

    def local_run_state(self) -> dict[str, Any]:
        return self.selector.local_run_state()

    def load_local_run_state(self, state: dict[str, Any]) -> None:
        self.selector.load_local_run_state(state)


def _to(index: Tensor, other: Tensor) -> Tensor:
    """``index`` on the device of ``other``, without waiting for that device."""
    return index.to(other.device, non_blocking=True)
