"""Group-relative policy optimisation over whole episodes."""

from dataclasses import dataclass

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.decision import SubsetDistribution
from mmrlkd.registry import LEARNERS
from mmrlkd.structures import Rollout

from .base import Diagnostics
from .gradient import GradientLearner, shares, shuffled
from .group import group_advantages
from .rollout import set_aside_broken, take


@dataclass(frozen=True)
class GRPODiagnostics(Diagnostics):
    """One update; means over its minibatches unless said otherwise.

    Attributes:
        policy_loss: clipped surrogate.
        kl: KL(policy ‖ policy that acted) in nats, exact.
        entropy: of the policy, in nats, mean over all steps (0 for a step
            with a single feasible subset).
        clip_fraction: share of the steps whose ratio left the clip range.
        approx_kl: KL(old ‖ new) in nats, estimated without negative values.
        zero_variance_groups: share of the images that taught nothing, since
            all their episodes earned the same or fewer than two were finite.
        dropped_episodes: number with a non-finite state, reward or value.
        skipped_steps: number of minibatches that changed nothing, for want
            of a finite gradient or of any finite episode.
    """
    policy_loss: Tensor
    kl: Tensor
    entropy: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor
    zero_variance_groups: Tensor
    dropped_episodes: Tensor
    skipped_steps: Tensor


@LEARNERS.register_module()
class GRPO(GradientLearner):
    """Shao et al. 2024, https://arxiv.org/abs/2402.03300: several episodes of
    an image are each other's baseline, and no critic is learnt.

    Every step of an episode has the advantage of its total reward, see
    :func:`.group.group_advantages`. The paper keeps a language model near the
    one it was fine-tuned from. Here nothing was trained before: the divergence
    is from the policy that acted, which bounds how far an update goes where
    clipping has no say (a clipped ratio has no gradient that would bring it
    back) and keeps no policy near the random one it began with.

    Args:
        group_size: G, episodes played for each image, 2 or more.
        lr: learning rate of Adam at the start; decays linearly to 0.
        eps_low: how far the ratio may fall below 1 before it stops paying.
        eps_high: how far it may rise above 1.
        kl_coef: β, weight of the divergence from the policy that acted.
        scale_by_std: divide advantages by the group's standard deviation.
        eps: added to that deviation, in units of the reward. It decides how
            much near-ties count.
        max_grad_norm: the gradient is clipped to this norm.
        epochs: passes over the episodes of an update.
        minibatches: gradient steps of a pass; groups stay together.
    """

    def __init__(self, group_size: int = 4, lr: float = 3e-4,
                 eps_low: float = 0.2, eps_high: float = 0.2,
                 kl_coef: float = 0.04, scale_by_std: bool = True,
                 eps: float = 1e-4, max_grad_norm: float = 0.5,
                 epochs: int = 4, minibatches: int = 4) -> None:
        super().__init__(lr, max_grad_norm)
        self._check(
            ('group_size', group_size, group_size >= 2, '2 or greater'),
            ('eps_low', eps_low, eps_low > 0, 'greater than 0'),
            ('eps_high', eps_high, eps_high > 0, 'greater than 0'),
            ('kl_coef', kl_coef, kl_coef >= 0, '0 or greater'),
            ('eps', eps, eps > 0, 'greater than 0'),
            ('epochs', epochs, epochs >= 1, '1 or greater'),
            ('minibatches', minibatches, minibatches >= 1, '1 or greater'))
        self.group_size = group_size
        self.eps_low = eps_low
        self.eps_high = eps_high
        self.kl_coef = kl_coef
        self.scale_by_std = scale_by_std
        self.eps = eps
        self.epochs = epochs
        self.minibatches = minibatches

    def update(self, rollout: Rollout) -> GRPODiagnostics:
        rollout, weight = set_aside_broken(rollout)
        steps, episodes = rollout.rewards.shape
        if episodes % self.group_size:
            raise ValueError(
                f'GRPO: group_size={self.group_size} does not divide the '
                f'{episodes} episodes at hand; they must be of whole groups, '
                'played with the same group_size.')
        advantages, tied = group_advantages(
            rollout.rewards.sum(0), weight, self.group_size, self.eps,
            self.scale_by_std)
        groups = torch.arange(
            episodes, device=weight.device).view(-1, self.group_size)
        with torch.no_grad():
            acting, _ = self.policy.evaluate(rollout.states)

        logs, skipped = [], 0
        # Groups are shuffled, their episodes and the steps of these never.
        for chosen in shuffled(len(groups), self.epochs, self.minibatches,
                               weight.device):
            chosen = groups[chosen].flatten()
            batch, advantage = take(rollout, chosen), advantages[chosen]
            count, share = shares(weight[chosen], steps)

            logits, _ = self.policy.evaluate(batch.states)
            choice = SubsetDistribution(logits, batch.feasible)
            acted = SubsetDistribution(acting[:, chosen], batch.feasible)
            log_ratio = choice.log_prob(batch.actions) - batch.log_probs
            ratio = log_ratio.exp()
            clipped = ratio.clamp(1 - self.eps_low, 1 + self.eps_high)

            policy_loss = -(share * torch.min(
                ratio * advantage, clipped * advantage)).sum()
            kl = (share * choice.kl(acted)).sum()
            loss = policy_loss + self.kl_coef * kl

            skipped += not self.descend(loss, count)
            with torch.no_grad():
                outside = (ratio != clipped).float()
                # k3 of Schulman 2020, http://joschu.net/blog/kl-approx.html
                divergence = log_ratio.expm1() - log_ratio
                logs.append(torch.stack([
                    policy_loss, kl, (share * choice.entropy()).sum(),
                    (share * outside).sum(), (share * divergence).sum()
                ]))

        log = torch.stack(logs).mean(0)
        dist.all_reduce(log, 'mean')
        policy_loss, kl, entropy, clip_fraction, approx_kl = log
        sums = torch.stack([
            tied.float().sum(), (~tied).float().sum(), (1 - weight).sum()])
        dist.all_reduce(sums)
        ties, others, dropped = sums
        return GRPODiagnostics(
            policy_loss=policy_loss,
            kl=kl,
            entropy=entropy,
            clip_fraction=clip_fraction,
            approx_kl=approx_kl,
            zero_variance_groups=ties / (ties + others),
            dropped_episodes=dropped,
            skipped_steps=torch.full_like(dropped, skipped))
