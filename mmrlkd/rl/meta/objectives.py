r"""Losses of a policy on a task whose derivatives are those of −E[return].

A surrogate such as REINFORCE's has the right gradient, but the gradient of that
gradient lacks what the policy's sampling contributes. These have the right
derivatives of every order, which gradients through an adaptation need.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mmrlkd.rl.algorithms import generalized_advantages
from mmrlkd.rl.policy import Policy
from mmrlkd.rl.rollout import play, set_aside_broken

from .task import KnownTask, Task

AnyTask = TypeVar('AnyTask', bound=Task, contravariant=True)


class Objective(Protocol[AnyTask]):
    """A loss of a policy on a task."""

    def __call__(self, policy: Policy, task: AnyTask) -> Tensor:
        """The 0-dim loss with its graph, an estimate of −E[return]."""
        ...


@dataclass(frozen=True)
class ExactReward:
    """−Σ_s π(s) R(s), mean over samples: nothing is sampled."""

    def __call__(self, policy: Policy, task: KnownTask) -> Tensor:
        return -task.expected_reward(policy).mean()


@dataclass(frozen=True)
class DiCE:
    r"""−Σ_t γ^t (☐(a_0 … a_t) r_t + (1 − ☐(a_t)) b_t), mean over episodes.

    Foerster et al. 2018, https://arxiv.org/abs/1802.05098.
    ☐(W) = exp(Σ_W log π − ⊥(Σ_W log π)) is 1, and each derivative of it puts
    the score function of the actions W in front of what it multiplies. ⊥ keeps
    the value and has no gradient.

    The baseline b_t of an episode is the mean return of the *other* episodes
    from step t on. These do not depend on the episode's actions, so that no
    derivative has a bias from it.

    Attributes:
        gamma: discount.
    """
    gamma: float = 1.0

    def __call__(self, policy: Policy, task: Task) -> Tensor:
        played = play(task, policy).replace(entropy=None, value=None)
        if played.reward is None:
            raise ValueError(
                f'DiCE: {type(task).__name__}.step returns no reward; '
                'accepted: an environment whose rewards are known, such as a '
                'recorded one.')
        episodes, weight = set_aside_broken(played)
        choice, _ = policy.evaluate(episodes.observation)
        log_prob, reward = choice.log_prob(episodes.action), episodes.reward
        assert reward is not None, 'played with rewards'
        # Without values and with λ = 1 these are the discounted returns.
        returns = generalized_advantages(
            reward, torch.zeros_like(reward), self.gamma, 1.)
        total = (weight * returns).sum(-1, keepdim=True)
        others = (weight.sum() - weight).clamp(min=1)
        baseline = (total - weight * returns) / others
        discount = self.gamma**torch.arange(
            len(reward), device=reward.device, dtype=reward.dtype)[:, None]
        gain = discount * (magic_box(log_prob.cumsum(0)) * reward +
                           (1 - magic_box(log_prob)) * baseline)
        return -(weight * gain.sum(0)).sum() / weight.sum().clamp(min=1)


def magic_box(log_prob: Tensor) -> Tensor:
    """☐: 1, with the derivatives of the probability over the probability."""
    return (log_prob - log_prob.detach()).exp()
