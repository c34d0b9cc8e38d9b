"""The trainer: optimizer, schedule, ranks, broken episodes."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_integer, check_number

from .algorithm import Algorithm, Batch, Diagnostics
from .descent import Descent
from .environment import Observation
from .policy import PolicyModule
from .rollout import Rollout, set_aside_broken


class Learner:
    """Updates the policy that it is bound to, by Adam. The parameters are equal
    on all ranks. A step with a non-finite gradient is skipped.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        max_grad_norm: the gradient is clipped to this norm.
    """

    #: The input of :meth:`update`: episodes that the policy played
    #: (:class:`.rollout.Rollout`), or the gains of all outcomes
    #: (:class:`.replay.Gains`).
    needs: ClassVar[Literal['episodes', 'gains']] = 'episodes'
    #: Number of episodes of each sample, next to each other along B.
    group_size: int = 1

    def __init__(self, lr: float, max_grad_norm: float) -> None:
        owner = type(self).__name__
        self.lr = check_number(owner, 'lr', lr, 0, open='low')
        self.max_grad_norm = check_number(
            owner, 'max_grad_norm', max_grad_norm, 0, open='low')

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of the policy's parameters."""
        return self._descent.optimizer

    def bind(self, policy: PolicyModule) -> None:
        """Set the policy to update; all ranks get rank 0's weights."""
        self.policy = policy
        self._descent = Descent(
            policy.parameters(), self.lr, self.max_grad_norm)

    def set_progress(self, fraction: float) -> None:
        """Set the share of the learning that is done, from 0 to 1."""
        self._descent.set_progress(fraction)

    def state_dict(self) -> dict[str, Any]:
        """State for resuming, equal on all ranks: tensors, numbers and containers
        only."""
        return self._descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, bit for bit."""
        self._descent.load_state_dict(state)

    def local_state_dict(self) -> dict[str, Any]:
        """Like :meth:`state_dict`, for state that differs between ranks."""
        return {}

    def load_local_state_dict(self, state: dict[str, Any], observation:
                              Callable[[dict], Observation]) -> None:
        """Continue from :meth:`local_state_dict`.

        Args:
            state: the state dict.
            observation: makes an observation from its plain dict.
        """


class Trainer(Learner):
    """Updates the policy by an algorithm's loss on its episodes. Episodes with a
    non-finite number are left out.

    Args:
        algorithm: its loss is minimised.
        lr: learning rate of Adam at the start; decays linearly to 0.
        max_grad_norm: the gradient is clipped to this norm.
        epochs: passes over the episodes of an update.
        minibatches: gradient steps of a pass, on episodes in random order; None
            for one step on all of them.
        target_kl: the update ends after a pass whose mean ``approx_kl`` exceeds
            it; None for no early stop.
    """

    def __init__(self, algorithm: Algorithm, lr: float, max_grad_norm: float,
                 epochs: int = 1, minibatches: int | None = None,
                 target_kl: float | None = None) -> None:
        super().__init__(lr, max_grad_norm)
        owner = type(self).__name__
        check_integer(owner, 'epochs', epochs, 1)
        if minibatches is not None:
            check_integer(owner, 'minibatches', minibatches, 1)
        if target_kl is not None:
            check_number(owner, 'target_kl', target_kl, 0, open='low')
        self.algorithm = algorithm
        self.group_size = algorithm.group_size
        self.epochs = epochs
        self.minibatches = minibatches
        self.target_kl = target_kl

    def update(self, rollout: Rollout) -> Diagnostics:
        """Update the policy from episodes that it played since the last update.

        Called by all ranks together, each with its own episodes.
        """
        algorithm = self.algorithm
        rollout, weight = set_aside_broken(rollout)
        prepared = algorithm.prepare(self.policy, rollout, weight)
        logs: list[Tensor] = []
        names: tuple[str, ...] = ()
        skipped = 0
        # Minibatches of all epochs are on one list; `first` is this epoch's start.
        for epoch in self._epochs(prepared):
            first = len(logs)
            for part in epoch:
                batch, count = algorithm.minibatch(part)
                loss, stats = algorithm.loss(self.policy, batch)
                taken = self._descent.step(loss, count)
                self.after_step(batch, taken)
                skipped += not taken
                names = tuple(stats)
                logs.append(torch.stack(list(stats.values())))
            if self._far_enough(names, logs[first:]):
                break

        # One all_reduce for all stats of all minibatches.
        log = torch.stack(logs).mean(0)
        dist.all_reduce(log, 'mean')
        dropped = (1 - weight).sum()
        dist.all_reduce(dropped)
        return algorithm.diagnostics(
            **dict(zip(names, log, strict=True)),
            **algorithm.summary(rollout, prepared),
            dropped_episodes=dropped,
            skipped_steps=torch.full_like(dropped, skipped))

    def after_step(self, batch: Batch, taken: bool) -> None:
        """Called after each gradient step; ``taken`` is False if it was skipped."""

    def _epochs(self, batch: Batch) -> Iterator[Iterator[Batch]]:
        """The minibatches of each pass. Groups are shuffled, but neither the
        episodes of a group nor the steps of an episode, along which the
        policy's memory runs."""
        if self.minibatches is None:
            for _ in range(self.epochs):
                yield iter([batch])
            return
        size, device = self.algorithm.group_size, batch.weight.device
        # (T, B) -> rows of the episodes that are each other's baseline, for GRPO.
        groups = torch.arange(batch.shape[1], device=device).view(-1, size)
        for epoch in shuffled(
                len(groups), self.epochs, self.minibatches, device):
            yield (batch[:, groups[chosen].flatten()] for chosen in epoch)

    def _far_enough(self, names: tuple[str, ...], logs: list[Tensor]) -> bool:
        """Whether ``approx_kl`` of a pass exceeds its target. All ranks decide
        alike: otherwise one would wait in the next pass's all_reduce."""
        if self.target_kl is None:
            return False
        moved = torch.stack(logs).mean(0)[names.index('approx_kl')].clone()
        dist.all_reduce(moved, 'mean')
        return bool(moved > self.target_kl)


def shuffled(items: int, epochs: int, minibatches: int,
             device: torch.device) -> Iterator[Iterator[Tensor]]:
    """For each epoch, the indices of the items in each minibatch.

    The number of minibatches must be equal on all ranks, because each has an
    all_reduce. It is smaller than ``minibatches`` if a rank has fewer items.
    """
    fewest = torch.tensor(items)
    dist.all_reduce(fewest, 'min')
    for _ in range(epochs):
        # Drawn on the CPU, so that the order does not depend on the device.
        order = torch.randperm(items).to(device)
        yield iter(order.tensor_split(min(minibatches, int(fewest))))
