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

from mmrlkd.arguments import check_number
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
            critic that acted, variances within each step of the episodes; 1 is
            perfect, 0 no better than a constant for each step.
        dropped_episodes: number with a non-finite state, reward or value.
        skipped_steps: number of minibatches without a step, because the gradient
            or every episode was not finite.
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
        assert rollout.reward is not None, 'rewards are known by now'
        if rollout.value is None:
            raise ValueError(
                'PPO learns a critic, but the policy gives no value; accepted: '
                'a policy with a critic, or GRPO or REINFORCE.')
        # Detail 5: generalised advantages, and their sum with the values as
        # the critic's target.
        advantage = generalized_advantages(
            rollout.reward, rollout.value, self.gamma, self.gae_lambda)
        target = advantage + rollout.value
        spread, noise = _resolution(rollout.reward, rollout.value, weight)
        # If all episodes have equal rewards, the advantages contain the error of
        # the critic and nothing about the actions, so they are set to 0. With a
        # single episode this cannot be told.
        episodes = weight.sum()
        dist.all_reduce(episodes)
        advantage = advantage.where((spread > noise) | (episodes == 1), 0.)
        weight = weight.expand_as(advantage)
        return Batch(
            observation=rollout.observation, action=rollout.action,
            log_prob=rollout.log_prob, advantage=advantage, weight=weight,
            share=weight, target=target, noise=noise.expand_as(advantage),
            batch_size=rollout.batch_size)

    def minibatch(self, batch: Batch) -> tuple[Batch, Tensor]:
        assert batch.noise is not None, 'prepared by this algorithm'
        count, mean, variance = _moments(batch.advantage, batch.weight)
        # Detail 7: normalised per minibatch; but one element would become 0,
        # and rounding errors would become as large as true differences.
        deviation = variance.sqrt()
        normalised = ((batch.advantage - mean) / (deviation + 1e-8)).where(
            deviation > batch.noise, 0.)
        advantage = torch.where(count > 1, normalised, batch.advantage)
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
        # Without detail 9: the article finds no benefit of clipping the value loss.
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
        assert rollout.value is not None, 'prepared with values'
        total, unexplained = (_within_steps(each, batch.weight) for each in (
            batch.target, batch.target - rollout.value))
        return dict(explained_variance=torch.where(
            total > 0, 1 - unexplained / total, 0.))


@LEARNERS.register_module()
class PPO(Trainer):
    """:class:`PPOLoss`, several epochs of minibatches on each rollout.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        clip: ε; the ratio is clipped to [1 − ε, 1 + ε].
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
        check_number('PPO', 'clip', clip, 0, open='low')
        check_number('PPO', 'value_coef', value_coef, 0)
        check_number('PPO', 'entropy_coef', entropy_coef, 0)
        check_number('PPO', 'gamma', gamma, 0, 1)
        check_number('PPO', 'gae_lambda', gae_lambda, 0, 1)
        super().__init__(
            PPOLoss(clip, value_coef, entropy_coef, gamma, gae_lambda), lr,
            max_grad_norm, epochs, minibatches, target_kl)


def _resolution(reward: Tensor, value: Tensor,
                weight: Tensor) -> tuple[Tensor, Tensor]:
    """The largest difference of the rewards (T, B) of a step between episodes of
    ``weight`` (B,) 1, and the largest difference of advantages that rounding
    alone can cause; both 0-dim, over all ranks."""
    kept = weight > 0
    reward, value = reward.where(kept, 0.), value.where(kept, 0.)
    highest = reward.masked_fill(~kept, -torch.inf).amax(1)
    lowest = reward.masked_fill(~kept, torch.inf).amin(1)
    size = torch.maximum(reward.abs().amax(), value.abs().amax())
    extremes = torch.cat([highest, -lowest, size[None]])
    dist.all_reduce(extremes, 'max')
    steps = len(reward)
    noise = 8 * steps * torch.finfo(reward.dtype).eps * extremes[-1]
    return (extremes[:steps] + extremes[steps:-1]).amax(), noise


def _within_steps(numbers: Tensor, weight: Tensor) -> Tensor:
    """0-dim sum of squares of ``numbers`` (T, B) around the mean of their step, of
    ``weight`` (T, B) 1, on all ranks: that returns differ by step says nothing
    about the images."""
    sums = torch.stack([weight.sum(1), (weight * numbers).sum(1)])
    dist.all_reduce(sums)
    count, total = sums
    mean = total / count.clamp(1)
    squares = (weight * (numbers - mean[:, None])**2).sum()
    dist.all_reduce(squares)
    return squares


def _moments(numbers: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and unbiased variance of ``numbers`` (T, B) over the steps
    of ``weight`` (T, B) 1, on all ranks together."""
    # In two passes: E[x²] − E[x]² would cancel for numbers far from 0.
    sums = torch.stack([
        weight[0].sum() * len(numbers), (weight * numbers).sum()])
    dist.all_reduce(sums)
    count, total = sums
    mean = total / count.clamp(1)
    squares = (weight * (numbers - mean)**2).sum()
    dist.all_reduce(squares)
    return count, mean, squares / (count - 1).clamp(1)
