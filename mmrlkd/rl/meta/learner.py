"""What meta-learners share: adaptation by gradient steps, and the outer step."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_integer, check_number, refuse
from mmrlkd.rl.algorithm import Diagnostics
from mmrlkd.rl.descent import Descent
from mmrlkd.rl.policy import FunctionalPolicy, Policy, PolicyModule

from .objectives import Objective
from .task import Task, check_shots


@dataclass(frozen=True)
class MetaDiagnostics(Diagnostics):
    """One meta-iteration; means over the tasks of all ranks.

    Attributes:
        before: loss on samples not adapted to, of the meta-policy.
        after: the same of the adapted policies.
        skipped_steps: 1 if the gradient was not finite and not followed.
    """
    before: Tensor
    after: Tensor
    skipped_steps: Tensor


class Clone(FunctionalPolicy):
    """A policy that is adapted; the one that it was cloned from is not.

    Args:
        policy: the computation.
        parameters: by the names of ``policy.named_parameters()``.
        lr: of :meth:`adapt`.
        first_order: :meth:`adapt` passes gradients on as if the steps did not
            depend on where they start.
    """

    def __init__(self, policy: PolicyModule, parameters: dict[str, Tensor],
                 lr: float, first_order: bool) -> None:
        super().__init__(policy, parameters)
        self.lr = lr
        self.first_order = first_order

    def adapt(self, loss: Tensor) -> Self:
        """One step of gradient descent on ``loss`` (0-dim, with its graph), in
        place. Parameters that it does not depend on, such as a critic's, stay."""
        names, weights = zip(*(
            (name, weight) for name, weight in self.parameters.items()
            if weight.requires_grad), strict=True)
        gradients = torch.autograd.grad(
            loss, weights, create_graph=not self.first_order,
            allow_unused=True)
        self.parameters |= {
            name: weight - self.lr * gradient for name, weight, gradient
            in zip(names, weights, gradients, strict=True)
            if gradient is not None}
        return self


class MetaLearner(ABC):
    """Learns a policy from which few gradient steps lead to a good one.

    Tasks may have observations of other shapes where the policy can be
    :meth:`fitted <mmrlkd.rl.policy.PolicyModule.fitted>` to each of them. What
    is learnt are the weights that all of them share.

    Args:
        policy: the meta-policy; set to rank 0's weights.
        objective: the loss of inner and outer steps: :class:`.ExactReward`
            where what every outcome is worth is known, else :class:`.DiCE`.
        lr: of the inner steps, plain gradient descent.
        meta_lr: of the outer steps, Adam.
        steps: inner steps.
        shots: samples of a task that are adapted to.
        max_grad_norm: the outer gradient is clipped to this norm.
    """

    #: Factor of the outer gradient before it is clipped.
    scale: float = 1.0
    #: See :class:`Clone`.
    first_order: bool = True

    def __init__(self, policy: PolicyModule, objective: Objective,
                 lr: float = 1e-3, meta_lr: float = 1e-4, steps: int = 5,
                 shots: int = 100, max_grad_norm: float = 0.5) -> None:
        owner = type(self).__name__
        self.policy = policy
        self._fitted: WeakKeyDictionary[Task, PolicyModule] = (
            WeakKeyDictionary())
        self.objective = objective
        self.lr = check_number(owner, 'lr', lr, 0)
        self.steps = check_integer(owner, 'steps', steps, 1)
        self.shots = check_integer(owner, 'shots', shots, 1)
        self._descent = Descent(
            policy.parameters(),
            check_number(owner, 'meta_lr', meta_lr, 0, open='low'),
            check_number(owner, 'max_grad_norm', max_grad_norm, 0, open='low'))

    def clone(self, first_order: bool | None = None,
              policy: PolicyModule | None = None) -> Clone:
        """A policy with the meta-policy's weights, to call
        :meth:`Clone.adapt` of; gradients of its losses reach the meta-policy.

        Args:
            first_order: None as for this learner.
            policy: the meta-policy fitted to a task; None as it is.
        """
        return Clone(
            policy or self.policy, dict(self.policy.named_parameters()), self.lr,
            self.first_order if first_order is None else first_order)

    def fitted(self, task: Task) -> PolicyModule:
        """The meta-policy for a task, by all of the task's samples; once."""
        if task not in self._fitted:
            self._fitted[task] = self.policy.fitted(task)
        return self._fitted[task]

    def adapted(self, task: Task, steps: int,
                policy: PolicyModule | None = None) -> Clone:
        """A clone after ``steps`` on all samples of a task, whose episodes are
        played again for each of them.

        Args:
            task: adapted to.
            steps: of gradient descent.
            policy: see :meth:`clone`.
        """
        clone = self.clone(policy=policy)
        for _ in range(steps):
            clone.adapt(self.objective(clone, task))
        return clone

    def fast_adapt(self, environment: Task, shots: int = 100,
                   steps: int = 5) -> PolicyModule:
        """A policy of its own, adapted to a task; the meta-policy stays.

        Args:
            environment: the task.
            shots: samples, drawn without replacement; the policy is fitted
                to them, and they are used in every step.
            steps: of gradient descent.
        """
        owner = type(self).__name__
        check_shots(f'{owner}.fast_adapt', shots, environment)
        check_integer(f'{owner}.fast_adapt', 'steps', steps, 0)
        support = environment.take(_permuted(environment)[:shots])
        policy = copy.deepcopy(self.policy.fitted(support))
        policy.zero_grad()
        descend(policy, lambda each: self.objective(each, support), self.lr,
                steps, [name for name, weight in self.policy.named_parameters()
                        if weight.requires_grad])
        return policy

    @abstractmethod
    def meta_loss(self, clone: Clone, query: Task) -> Tensor:
        """0-dim, with the outer gradient as its gradient by the meta-policy.

        Args:
            clone: adapted to some samples of a task.
            query: others of the same task.
        """

    def update(self, tasks: Sequence[Task]) -> MetaDiagnostics:
        """One outer step. Each task's samples are divided at random: ``shots``
        of them are adapted to, up to as many others test the result.

        Called by all ranks at once, each with its own tasks.
        """
        if not tasks:
            refuse(type(self).__name__, 'tasks', tasks, 'at least one task')
        for task in tasks:
            check_shots(type(self).__name__, self.shots, task, spared=1)
        weights = [weight for weight in self.policy.parameters()
                   if weight.requires_grad]
        gradients, logs = [torch.zeros_like(each) for each in weights], []
        for task in tasks:
            order = _permuted(task)
            query = task.take(order[self.shots:2 * self.shots])
            policy = self.fitted(task)
            clone = self.adapted(
                task.take(order[:self.shots]), self.steps, policy)
            # Task by task, so that memory holds one adaptation at a time.
            own = torch.autograd.grad(
                self.meta_loss(clone, query), weights, allow_unused=True,
                materialize_grads=True)
            gradients = [one + two for one, two in zip(
                gradients, own, strict=True)]
            with torch.no_grad():
                logs.append(torch.stack([
                    self.objective(self.clone(policy=policy), query),
                    self.objective(clone, query)]))
        log = torch.stack(logs).sum(0)
        count = torch.full_like(log[0], len(tasks))
        dist.all_reduce(count)
        dist.all_reduce(log)
        share = self.scale * dist.get_world_size() / count
        taken = self._descent.step(share * torch.stack([
            (weight * gradient).sum() for weight, gradient in zip(
                weights, gradients, strict=True)]).sum(), count)
        before, after = log / count
        return MetaDiagnostics(
            before, after, torch.full_like(count, not taken))

    def set_progress(self, fraction: float) -> None:
        """Say how much of the training is over, from 0 to 1; the outer
        learning rate decays linearly to 0."""
        self._descent.set_progress(fraction)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside the policy's weights."""
        return self._descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, bit for bit."""
        self._descent.load_state_dict(state)


@torch.enable_grad()
def descend(policy: PolicyModule, loss: Callable[[Policy], Tensor], lr: float,
            steps: int, names: Collection[str]) -> None:
    """Steps of plain gradient descent, in place.

    Args:
        policy: fitted to the task.
        loss: 0-dim, of a policy, with its graph.
        lr: of the steps.
        steps: how many.
        names: of the parameters that move.
    """
    weights = dict(policy.named_parameters())
    for _ in range(steps):
        clone = Clone(policy, {name: weights[name] for name in names}, lr,
                      first_order=True)
        clone.adapt(loss(clone))
        with torch.no_grad():
            for name, weight in clone.parameters.items():
                weights[name].copy_(weight)


def _permuted(task: Task) -> Tensor:
    # Drawn on the CPU, so that it does not depend on the device.
    return torch.randperm(task.batch_size).to(task.device)
