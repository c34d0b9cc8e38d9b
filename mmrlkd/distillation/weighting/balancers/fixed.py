"""Constant weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import BALANCERS

from .base import Balancer


@BALANCERS.register_module()
class FixedBalancer(Balancer):
    """Constant weights, scaled to sum to the number of losses: ``loss_weight``
    scales all of them.

    Args:
        weights: a number > 0 for each level, by name, and for ``'task'`` if
            ``include_task`` is set; only their ratios matter.
    """

    needs_gradients = False

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        for name, weight in weights.items():
            check_number('FixedBalancer', f'weights[{name!r}]', weight, 0,
                         open='low')
        self._given = dict(weights)

    def bind(self, names: Sequence[str]) -> None:
        super().bind(names)
        if set(names) != set(self._given):
            raise ValueError(
                f'FixedBalancer: weights names {sorted(self._given)}; '
                f'accepted: one number for each of {list(names)}.')
        given = torch.tensor([float(self._given[name]) for name in names])
        self.weights.copy_(given * len(names) / given.sum())

    def _update(self, rows: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        return self.weights
