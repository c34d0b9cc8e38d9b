"""The same levels and weights for every image."""

from abc import abstractmethod

import torch
from torch import Tensor

from mmrlkd.distillation.selection.environment import DecisionProcess, within_budget
from mmrlkd.structures import Choice, LevelSpace, Selection

from .base import Selector


class ConstantSelector(Selector):
    """A row of weights, laid down when the levels are known.

    Which levels are selected stays on the CPU: whoever asks need not wait for
    the device.
    """

    _weights: Tensor

    @abstractmethod
    def weigh(self, space: LevelSpace) -> list[float]:
        """One weight ≥ 0 for each level; 0 does not select it."""

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        weights = torch.tensor(self.weigh(space))
        self._levels = weights > 0
        self.register_buffer(
            '_weights', weights / weights.sum().clamp(
                min=torch.finfo(weights.dtype).tiny), persistent=False)
        names = [name for name, selected in zip(
            space.names, self._levels, strict=True) if selected]
        cost = sum(cost for cost, selected in zip(
            space.costs, self._levels, strict=True) if selected)
        if not within_budget(cost, space):
            raise ValueError(
                f'{type(self).__name__} distils {", ".join(names)} at a cost '
                f'of {cost}, but budget={space.budget}; raise the budget to '
                f'{cost} or name cheaper levels with '
                'selector=dict(type="mmrlkd.FixedSelector", levels=...).')

    def select(self, process: DecisionProcess) -> Choice:
        shape = process.batch_size, len(self.space)
        return Choice(Selection(
            levels=self._levels.expand(shape),
            weights=self._weights.to(process.device).expand(shape)))
