"""Proximal policy optimisation over whole episodes.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347, with the details of
Huang et al. 2022, "The 37 implementation details of proximal policy
optimization" (https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/),
cited below by their numbers.
"""

from dataclasses import dataclass

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.registry import LEARNERS
from mmrlkd.rl.algorithm import Algorithm, Batch, Diagnostics, divergence, equal_shares
from mmrlkd.rl.policy import Policy
from mmrlkd.rl.rollout import Rollout
from mmrlkd.rl.trainer import Trainer

from .advantages import generalized_advantages


@dataclass(frozen=True)
class PPODiagnostics(Diagnostics):
    """One update; means over its minibatches unless said otherwise.

    Attributes:
        policy_loss: clipped surrogate.
        value_loss: mean squared error of the critic.
        entropy: of the policy, in nats, mean over all steps (0 for a step
            with a single allowed action).
        clip_fraction: share of the steps whose ratio left the clip range.
        approx_kl: KL(old ‖ new) in nats, estimated without negative values.
        explained_variance: 1 − Var(return − value) / Var(return) of the
            critic that acted; 1 is perfect, 0 no better than a constant.
        dropped_episodes: number with a non-finite state, reward or value.
        skipped_steps: number of minibatches that changed nothing, for want
            of a finite gradient or of any finite episode.
    """
    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor
    explained_variance: Tensor
    dropped_episodes: Tensor
    skipped_steps: Tensor


@dataclass(frozen=True)
class PPOLoss(Algorithm):
    """−min(ρA, clip(ρ, 1 − ε, 1 + ε)A) + c_v (V − R)² − c_e H, mean over steps.

    Attributes: see :class:`PPO`.
    """
    clip: float = 0.2
    value_coef: float = 0.5
    entropy_coef: float = 0.01
    gamma: float = 0.99
    gae_lambda: float = 0.95

    diagnostics = PPODiagnostics

    def prepare(self, policy: Policy, rollout: Rollout,
                weight: Tensor) -> Batch:
        if rollout.value is None:
            raise ValueError(
                'PPO learns a critic, but the policy gives no value; accepted: '
                'a policy with a critic, or GRPO or REINFORCE.')
        # Detail 5: generalised advantages, and their sum with the values as
        # the critic's target.
        advantage = generalized_advantages(
            rollout.reward, rollout.value, self.gamma, self.gae_lambda)
        weight = weight.expand_as(advantage)
        return Batch(
            observation=rollout.observation, action=rollout.action,
            log_prob=rollout.log_prob, advantage=advantage, weight=weight,
            share=weight, target=advantage + rollout.value,
            batch_size=rollout.batch_size)

    def minibatch(self, batch: Batch) -> tuple[Batch, Tensor]:
        count, mean, variance = _moments(batch.advantage, batch.weight)
        # Detail 7: normalised per minibatch; but one element would become 0.
        advantage = torch.where(
            count > 1,
            (batch.advantage - mean) / (variance.sqrt() + 1e-8),
            batch.advantage)
        return batch.replace(
            advantage=advantage,
            share=equal_shares(batch.weight, count)), count

    def loss(self, policy: Policy,
             batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        choice, value = policy.evaluate(batch.observation)
        assert value is not None, 'the policy had a critic when it acted'
        log_ratio = choice.log_prob(batch.action) - batch.log_prob
        ratio = log_ratio.exp()
        # Detail 8: the clipped surrogate (equation 7 of the paper).
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        policy_loss = -(batch.share * torch.min(
            ratio * batch.advantage, clipped * batch.advantage)).sum()
        # Not detail 9: clipping the value loss helps nobody, as it says.
        value_loss = (batch.share * (value - batch.target)**2).sum()
        # Detail 10: equation 9 of the paper.
        entropy = (batch.share * choice.entropy()).sum()
        loss = (policy_loss + self.value_coef * value_loss -
                self.entropy_coef * entropy)
        with torch.no_grad():  # Detail 12
            outside = ((ratio - 1).abs() > self.clip).float()
            stats = dict(
                policy_loss=policy_loss.detach(),
                value_loss=value_loss.detach(),
                entropy=entropy.detach(),
                clip_fraction=(batch.share * outside).sum(),
                approx_kl=(batch.share * divergence(log_ratio)).sum())
        return loss, stats

    def summary(self, rollout: Rollout, batch: Batch) -> dict[str, Tensor]:
        *_, spread = _moments(batch.target, batch.weight)
        *_, unexplained = _moments(batch.target - rollout.value, batch.weight)
        return dict(explained_variance=torch.where(
            spread > 0, 1 - unexplained / spread, 0.))


@LEARNERS.register_module()
class PPO(Trainer):
    """:class:`PPOLoss`, several epochs of minibatches on each rollout.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        clip: ε, how far the ratio may move before it stops paying.
        value_coef: c_v, weight of the critic's mean squared error.
        entropy_coef: c_e, weight of the entropy bonus.
        gamma: discount.
        gae_lambda: λ of :func:`.advantages.generalized_advantages`.
        max_grad_norm: the gradient is clipped to this norm.
        epochs: passes over the episodes of an update.
        minibatches: gradient steps of a pass.
        target_kl: no further pass once ``approx_kl`` of a pass exceeds it;
            None: never stops early.
    """

    def __init__(self, lr: float = 3e-4, clip: float = 0.2,
                 value_coef: float = 0.5, entropy_coef: float = 0.01,
                 gamma: float = 0.99, gae_lambda: float = 0.95,
                 max_grad_norm: float = 0.5, epochs: int = 4,
                 minibatches: int = 4,
                 target_kl: float | None = None) -> None:
        self._check(
            ('clip', clip, clip > 0, 'greater than 0'),
            ('value_coef', value_coef, value_coef >= 0, '0 or greater'),
            ('entropy_coef', entropy_coef, entropy_coef >= 0, '0 or greater'),
            ('gamma', gamma, 0 <= gamma <= 1, 'in [0, 1]'),
            ('gae_lambda', gae_lambda, 0 <= gae_lambda <= 1, 'in [0, 1]'))
        super().__init__(
            PPOLoss(clip, value_coef, entropy_coef, gamma, gae_lambda), lr,
            max_grad_norm, epochs, minibatches, target_kl)


def _moments(numbers: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and unbiased variance of ``numbers`` (T, B) over the steps
    of ``weight`` (T, B) 1, on all ranks together."""
    sums = torch.stack([
        weight[0].sum() * len(numbers), (weight * numbers).sum()])
    dist.all_reduce(sums)
    count, total = sums
    mean = total / count.clamp(1)
    squares = (weight * (numbers - mean)**2).sum()
    dist.all_reduce(squares)
    return count, mean, squares / (count - 1).clamp(1)
