"""What all learners that follow a gradient share."""

from collections.abc import Iterator
from math import isfinite
from typing import Any

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.policies import Policy

from .base import Learner
from .descent import Descent


class GradientLearner(Learner):
    """Adam on the policy's parameters, which stay the same on every rank.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        max_grad_norm: the gradient is clipped to this norm.
    """

    def __init__(self, lr: float, max_grad_norm: float) -> None:
        self._check(
            ('lr', lr, lr > 0, 'greater than 0'),
            ('max_grad_norm', max_grad_norm, max_grad_norm > 0,
             'greater than 0'))
        self.lr = lr
        self.max_grad_norm = max_grad_norm

    def _check(self, *settings: tuple[str, float, bool, str]) -> None:
        """Raise a ValueError at the first of (key, value, whether it fits,
        what is accepted) that does not fit."""
        for key, value, fits, accepted in settings:
            if not (fits and isfinite(value)):
                raise ValueError(
                    f'{type(self).__name__}: {key}={value} must be '
                    f'{accepted}.')

    def bind(self, policy: Policy) -> None:
        self.policy = policy
        self._descent = Descent(
            policy.parameters(), self.lr, self.max_grad_norm)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of the policy's parameters."""
        return self._descent.optimizer

    def descend(self, loss: Tensor, count: Tensor) -> bool:
        """One step, if it is sound: see :meth:`.descent.Descent.step`."""
        return self._descent.step(loss, count)

    def set_progress(self, fraction: float) -> None:
        self._descent.set_progress(fraction)

    def state_dict(self) -> dict[str, Any]:
        return self._descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._descent.load_state_dict(state)


def shuffled(items: int, epochs: int, minibatches: int,
             device: torch.device) -> Iterator[Tensor]:
    """Indices of the ``items`` of each minibatch, epoch after epoch.

    As many minibatches on every rank, or they wait for each other; fewer
    where a rank has fewer items.
    """
    fewest = torch.tensor(items)
    dist.all_reduce(fewest, 'min')
    for _ in range(epochs):
        order = torch.randperm(items).to(device)
        yield from order.tensor_split(min(minibatches, int(fewest)))


def shares(weight: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Count the decisions of episodes of ``weight`` (N,) on all ranks, and
    say what each counts in their mean, once gradients have been averaged over
    the ranks.

    Returns:
        0-dim number of decisions, and (N,) shares.
    """
    count = weight.sum() * steps
    dist.all_reduce(count)
    return count, weight * dist.get_world_size() / count.clamp(1)
