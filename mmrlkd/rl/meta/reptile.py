"""Reptile: towards where the adaptation ends.

Nichol et al. 2018, https://arxiv.org/abs/1803.02999.
"""

import torch
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import META_LEARNERS
from mmrlkd.rl.policy import PolicyModule

from .learner import Clone, MetaLearner
from .objectives import Objective
from .task import Task


@META_LEARNERS.register_module()
class Reptile(MetaLearner):
    """The outer gradient is θ − θ_k, from the adapted weights θ_k to the
    meta-policy's θ; it needs no second derivatives and no other samples. For
    Adam it is divided by α k, which gives it the size of a gradient.

    Args:
        policy: see :class:`.learner.MetaLearner`.
        objective: likewise.
        lr: α, likewise; > 0.
        meta_lr: likewise.
        steps: k, likewise.
        shots: likewise.
        max_grad_norm: likewise.
    """

    def __init__(self, policy: PolicyModule, objective: Objective,
                 lr: float = 1e-3, meta_lr: float = 1e-4, steps: int = 5,
                 shots: int = 100, max_grad_norm: float = 0.5) -> None:
        check_number('Reptile', 'lr', lr, 0, open='low')
        super().__init__(
            policy, objective, lr, meta_lr, steps, shots, max_grad_norm)
        self.scale = 1 / (lr * steps)

    def meta_loss(self, clone: Clone, query: Task) -> Tensor:
        return torch.stack([
            (weight * (weight - clone.parameters[name]).detach()).sum()
            for name, weight in self.policy.named_parameters()]).sum()
