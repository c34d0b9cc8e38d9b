"""REINFORCE with a moving baseline."""

from dataclasses import dataclass
from typing import Any

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.decision import SubsetDistribution
from mmrlkd.registry import LEARNERS
from mmrlkd.structures import Rollout

from .base import Diagnostics
from .gae import generalized_advantages
from .gradient import GradientLearner, shares
from .rollout import set_aside_broken


@dataclass(frozen=True)
class REINFORCEDiagnostics(Diagnostics):
    """One update.

    Attributes:
        policy_loss: mean of −advantage · log-probability.
        entropy: of the policy, in nats, mean over all steps (0 for a step
            with a single feasible subset).
        advantage: return minus baseline, mean over all steps; away from 0 the
            baseline lags behind.
        dropped_episodes: number with a non-finite state, reward or value.
        skipped_steps: 1 if the update changed nothing, for want of a finite
            gradient or of any finite episode.
    """
    policy_loss: Tensor
    entropy: Tensor
    advantage: Tensor
    dropped_episodes: Tensor
    skipped_steps: Tensor


@LEARNERS.register_module()
class REINFORCE(GradientLearner):
    """Williams 1992, https://doi.org/10.1007/BF00992696, with the moving
    baseline of Zoph and Le 2017, https://arxiv.org/abs/1611.01578.

    One gradient step on all episodes of an update. The baseline is a moving
    average of each step's return, over all images and ranks alike. It is
    updated after the advantages are taken: a baseline that had seen their
    returns would depend on the actions. As in PPO each step counts alike, and
    the discount says how far a step looks ahead.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        entropy_coef: weight of the entropy bonus.
        gamma: discount.
        baseline_decay: what a return still counts in the baseline one update
            later, in [0, 1). The first updates are averaged equally, so that
            the baseline need not climb from 0.
        max_grad_norm: the gradient is clipped to this norm.
    """

    def __init__(self, lr: float = 1e-3, entropy_coef: float = 0.01,
                 gamma: float = 0.99, baseline_decay: float = 0.9,
                 max_grad_norm: float = 0.5) -> None:
        super().__init__(lr, max_grad_norm)
        self._check(
            ('entropy_coef', entropy_coef, entropy_coef >= 0, '0 or greater'),
            ('gamma', gamma, 0 <= gamma <= 1, 'in [0, 1]'),
            ('baseline_decay', baseline_decay, 0 <= baseline_decay < 1,
             'in [0, 1)'))
        self.entropy_coef = entropy_coef
        self.gamma = gamma
        self.baseline_decay = baseline_decay
        #: (T,) once the length of the episodes is known, that is after the
        #: first update; 0 until then.
        self.baseline = torch.zeros(())
        self._updates = 0

    def update(self, rollout: Rollout) -> REINFORCEDiagnostics:
        rollout, weight = set_aside_broken(rollout)
        rewards = rollout.rewards
        # Without values and with λ = 1 these are the discounted returns.
        returns = generalized_advantages(
            rewards, torch.zeros_like(rewards), self.gamma, 1.)
        baseline = self.baseline.to(rewards.device)
        advantages = returns - baseline.view(-1, 1)
        count, share = shares(weight, len(rewards))

        logits, _ = self.policy.evaluate(rollout.states)
        choice = SubsetDistribution(logits, rollout.feasible)
        log_prob = choice.log_prob(rollout.actions)
        policy_loss = -(share * advantages * log_prob).sum()
        entropy = (share * choice.entropy()).sum()
        taken = self.descend(policy_loss - self.entropy_coef * entropy, count)

        log = torch.stack([
            policy_loss.detach(), entropy.detach(), (share * advantages).sum(),
            *(share * returns).sum(1) * len(rewards)])
        dist.all_reduce(log, 'mean')
        policy_loss, entropy, advantage = log[:3]
        if taken:  # returns that gave no finite gradient would stay for long
            self._updates += 1
            new = max(1 - self.baseline_decay, 1 / self._updates)
            self.baseline = baseline + new * (log[3:] - baseline)
        dropped = (1 - weight).sum()
        dist.all_reduce(dropped)
        return REINFORCEDiagnostics(
            policy_loss=policy_loss,
            entropy=entropy,
            advantage=advantage,
            dropped_episodes=dropped,
            skipped_steps=torch.full_like(dropped, float(not taken)))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'baseline': self.baseline,
                'updates': self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.baseline = state['baseline']
        self._updates = state['updates']
