"""Proximal policy optimisation over whole episodes."""

from dataclasses import dataclass

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.decision import SubsetDistribution
from mmrlkd.registry import LEARNERS
from mmrlkd.structures import Rollout

from .base import Diagnostics
from .gae import generalized_advantages
from .gradient import GradientLearner, shuffled
from .rollout import set_aside_broken, take


@dataclass(frozen=True)
class PPODiagnostics(Diagnostics):
    """One update; means over its minibatches unless said otherwise.

    Attributes:
        policy_loss: clipped surrogate.
        value_loss: mean squared error of the critic.
        entropy: of the policy, in nats, mean over all steps (0 for a step
            with a single feasible subset).
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


@LEARNERS.register_module()
class PPO(GradientLearner):
    """Schulman et al. 2017, https://arxiv.org/abs/1707.06347, with the details
    of Huang et al. 2022, "The 37 implementation details of PPO".

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        clip: ε, how far the ratio may move before it stops paying.
        value_coef: weight of the critic's mean squared error.
        entropy_coef: weight of the entropy bonus.
        gamma: discount.
        gae_lambda: λ of :func:`generalized_advantages`.
        max_grad_norm: the gradient is clipped to this norm.
        epochs: passes over the episodes of an update.
        minibatches: gradient steps of a pass.
    """

    def __init__(self, lr: float = 3e-4, clip: float = 0.2,
                 value_coef: float = 0.5, entropy_coef: float = 0.01,
                 gamma: float = 0.99, gae_lambda: float = 0.95,
                 max_grad_norm: float = 0.5, epochs: int = 4,
                 minibatches: int = 4) -> None:
        super().__init__(lr, max_grad_norm)
        self._check(
            ('clip', clip, clip > 0, 'greater than 0'),
            ('value_coef', value_coef, value_coef >= 0, '0 or greater'),
            ('entropy_coef', entropy_coef, entropy_coef >= 0, '0 or greater'),
            ('gamma', gamma, 0 <= gamma <= 1, 'in [0, 1]'),
            ('gae_lambda', gae_lambda, 0 <= gae_lambda <= 1, 'in [0, 1]'),
            ('epochs', epochs, epochs >= 1, '1 or greater'),
            ('minibatches', minibatches, minibatches >= 1, '1 or greater'))
        self.clip = clip
        self.value_coef = value_coef
        self.entropy_coef = entropy_coef
        self.gamma = gamma
        self.gae_lambda = gae_lambda
        self.epochs = epochs
        self.minibatches = minibatches

    def update(self, rollout: Rollout) -> PPODiagnostics:
        rollout, weight = set_aside_broken(rollout)
        advantages = generalized_advantages(
            rollout.rewards, rollout.values, self.gamma, self.gae_lambda)
        returns = advantages + rollout.values
        spread, noise = _resolution(rollout, weight)
        # Episodes that all earned the same say nothing of their actions: what
        # is left in the advantages is the critic's error. One episode alone
        # has nothing to be the same as.
        episodes = weight.sum()
        dist.all_reduce(episodes)
        advantages = advantages.where((spread > noise) | (episodes == 1), 0.)

        logs, skipped = [], 0
        # Episodes are shuffled, steps never: memory runs along them.
        for chosen in shuffled(len(weight), self.epochs, self.minibatches,
                               weight.device):
            batch = take(rollout, chosen)
            advantage = advantages[:, chosen]
            count, mean, variance = _moments(advantage, weight[chosen])
            # Normalised per minibatch, but one element would become 0, and
            # rounding errors would become as large as true differences.
            deviation = variance.sqrt()
            normalised = ((advantage - mean) / (deviation + 1e-8)).where(
                deviation > noise, 0.)
            advantage = torch.where(count > 1, normalised, advantage)
            # What a step counts in a mean over all ranks, once gradients
            # have been averaged over them.
            share = weight[chosen] * dist.get_world_size() / count.clamp(1)

            logits, values = self.policy.evaluate(batch.states)
            choice = SubsetDistribution(logits, batch.feasible)
            log_ratio = choice.log_prob(batch.actions) - batch.log_probs
            ratio = log_ratio.exp()
            clipped = ratio.clamp(1 - self.clip, 1 + self.clip)

            policy_loss = -(share * torch.min(
                ratio * advantage, clipped * advantage)).sum()
            value_loss = (share * (values - returns[:, chosen])**2).sum()
            entropy = (share * choice.entropy()).sum()
            loss = (policy_loss + self.value_coef * value_loss -
                    self.entropy_coef * entropy)

            skipped += not self.descend(loss, count)
            with torch.no_grad():
                outside = ((ratio - 1).abs() > self.clip).float()
                # k3 of Schulman 2020, http://joschu.net/blog/kl-approx.html
                divergence = log_ratio.expm1() - log_ratio
                logs.append(torch.stack([
                    policy_loss, value_loss, entropy,
                    (share * outside).sum(), (share * divergence).sum()
                ]))

        log = torch.stack(logs).mean(0)
        dist.all_reduce(log, 'mean')
        policy_loss, value_loss, entropy, clip_fraction, approx_kl = log
        dropped = (1 - weight).sum()
        dist.all_reduce(dropped)
        *_, total = _moments(returns, weight)
        *_, unexplained = _moments(returns - rollout.values, weight)
        return PPODiagnostics(
            policy_loss=policy_loss,
            value_loss=value_loss,
            entropy=entropy,
            clip_fraction=clip_fraction,
            approx_kl=approx_kl,
            explained_variance=torch.where(
                total > 0, 1 - unexplained / total, 0.),
            dropped_episodes=dropped,
            skipped_steps=torch.full_like(dropped, skipped))


def _resolution(rollout: Rollout, weight: Tensor) -> tuple[Tensor, Tensor]:
    """How far the rewards of any step differ between the episodes of
    ``weight`` (B,) 1, and by how much rounding alone can make advantages
    differ; 0-dim both, over all ranks together."""
    kept = weight > 0
    rewards, values = (each.where(kept, 0.)
                       for each in (rollout.rewards, rollout.values))
    highest = rewards.masked_fill(~kept, -torch.inf).amax(1)
    lowest = rewards.masked_fill(~kept, torch.inf).amin(1)
    size = torch.maximum(rewards.abs().amax(), values.abs().amax())
    extremes = torch.cat([highest, -lowest, size[None]])
    dist.all_reduce(extremes, 'max')
    steps = len(rewards)
    noise = 8 * steps * torch.finfo(rewards.dtype).eps * extremes[-1]
    return (extremes[:steps] + extremes[steps:-1]).amax(), noise


def _moments(numbers: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and unbiased variance of ``numbers`` (T, B) over the
    episodes of ``weight`` (B,) 1, on all ranks together."""
    sums = torch.stack([weight.sum() * len(numbers), (weight * numbers).sum()])
    dist.all_reduce(sums)
    count, total = sums
    mean = total / count.clamp(1)
    squares = (weight * (numbers - mean)**2).sum()
    dist.all_reduce(squares)
    return count, mean, squares / (count - 1).clamp(1)
