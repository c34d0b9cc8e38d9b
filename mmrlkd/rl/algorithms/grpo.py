"""Group-relative policy optimisation over whole episodes.

Shao et al. 2024, https://arxiv.org/abs/2402.03300, section 4.1.
"""

from dataclasses import dataclass

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_bool, check_integer, check_number
from mmrlkd.registry import LEARNERS
from mmrlkd.rl.algorithm import Algorithm, Batch, Diagnostics, divergence
from mmrlkd.rl.policy import Policy
from mmrlkd.rl.rollout import Rollout
from mmrlkd.rl.trainer import Trainer

from .advantages import group_advantages


@dataclass(frozen=True)
class GRPODiagnostics(Diagnostics):
    """One update; means over its minibatches unless said otherwise.

    Attributes:
        policy_loss: clipped surrogate.
        kl: KL(policy ‖ policy that acted) in nats, exact.
        entropy: of the policy, in nats, mean over all steps (0 for a step
            with a single allowed action).
        clip_fraction: share of the steps whose ratio left the clip range.
        approx_kl: KL(old ‖ new) in nats, estimated without negative values.
        zero_variance_groups: share of the groups without information: all
            returns are equal, or fewer than two episodes are finite.
        dropped_episodes: number with a non-finite state, reward or value.
        skipped_steps: number of minibatches without a step, because the gradient
            or every episode was not finite.
    """
    policy_loss: Tensor
    kl: Tensor
    entropy: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor
    zero_variance_groups: Tensor
    dropped_episodes: Tensor
    skipped_steps: Tensor


@dataclass(frozen=True)
class GRPOLoss(Algorithm):
    """−min(ρA, clip(ρ, 1 − ε_low, 1 + ε_high)A) + β KL(π ‖ π_acting), mean
    over steps; each step has the advantage of its episode's total reward.

    In the paper the KL term keeps a language model near the pretrained one. Here
    there is no pretrained policy: a fixed reference would keep the policy near
    its random initialisation. The reference is the policy that acted. It limits
    the size of an update also where the ratio is clipped and has no gradient.

    Attributes: see :class:`GRPO`.
    """
    group_size: int = 4
    eps_low: float = 0.2
    eps_high: float = 0.2
    kl_coef: float = 0.04
    scale_by_std: bool = True
    eps: float = 1e-4

    diagnostics = GRPODiagnostics

    def prepare(self, policy: Policy, rollout: Rollout,
                weight: Tensor) -> Batch:
        steps, episodes = rollout.shape
        if episodes % self.group_size:
            raise ValueError(
                f'GRPO: group_size={self.group_size} does not divide the '
                f'{episodes} episodes at hand; they must be of whole groups, '
                'played with the same group_size.')
        assert rollout.reward is not None, 'rewards are known by now'
        returns = rollout.reward.sum(0)
        # Outcome supervision, section 4.1.2.
        advantage, _ = group_advantages(
            returns, weight, self.group_size, self.eps, self.scale_by_std)
        # The logits of the policy that acted are not in the rollout, which has
        # log-probabilities of its actions only; the KL is over all actions.
        with torch.no_grad():
            acting, _ = policy.evaluate(rollout.observation)
        each = (steps, episodes)
        return Batch(
            observation=rollout.observation, action=rollout.action,
            log_prob=rollout.log_prob, advantage=advantage.expand(each),
            weight=weight.expand(each), share=weight.expand(each),
            target=returns.expand(each), acting=acting.logits,
            batch_size=each)

    def loss(self, policy: Policy,
             batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        choice, _ = policy.evaluate(batch.observation)
        log_ratio = choice.log_prob(batch.action) - batch.log_prob
        ratio = log_ratio.exp()
        # The range of Yu et al. 2025 (https://arxiv.org/abs/2503.14476) may
        # be wider above than below.
        clipped = ratio.clamp(1 - self.eps_low, 1 + self.eps_high)
        policy_loss = -(batch.share * torch.min(
            ratio * batch.advantage, clipped * batch.advantage)).sum()
        # Exact, where the paper estimates it (equation 4).
        kl = (batch.share * choice.kl(choice.with_logits(batch.acting))).sum()
        with torch.no_grad():
            outside = (ratio != clipped).float()
            stats = dict(
                policy_loss=policy_loss.detach(),
                kl=kl.detach(),
                entropy=(batch.share * choice.entropy()).sum(),
                clip_fraction=(batch.share * outside).sum(),
                approx_kl=(batch.share * divergence(log_ratio)).sum())
        return policy_loss + self.kl_coef * kl, stats

    def summary(self, rollout: Rollout, batch: Batch) -> dict[str, Tensor]:
        _, tied = group_advantages(
            batch.target[0], batch.weight[0], self.group_size, self.eps,
            self.scale_by_std)
        sums = torch.stack([tied.float().sum(), (~tied).float().sum()])
        dist.all_reduce(sums)
        ties, others = sums
        return dict(zero_variance_groups=ties / (ties + others))


@LEARNERS.register_module()
class GRPO(Trainer):
    """:class:`GRPOLoss`: the mean return of several episodes of a sample is their
    baseline, and no critic is learned.

    Args:
        group_size: G, episodes played for each sample, 2 or more.
        lr: learning rate of Adam at the start; decays linearly to 0.
        eps_low: the ratio is clipped at 1 − eps_low.
        eps_high: the ratio is clipped at 1 + eps_high.
        kl_coef: β, weight of the divergence from the policy that acted.
        scale_by_std: divide advantages by the group's standard deviation.
        eps: added to that deviation, in units of the reward: smaller differences
            of returns have little effect.
        max_grad_norm: the gradient is clipped to this norm.
        epochs: passes over the episodes of an update.
        minibatches: gradient steps of a pass; groups stay together.
    """

    def __init__(self, group_size: int = 4, lr: float = 3e-4,
                 eps_low: float = 0.2, eps_high: float = 0.2,
                 kl_coef: float = 0.04, scale_by_std: bool = True,
                 eps: float = 1e-4, max_grad_norm: float = 0.5,
                 epochs: int = 4, minibatches: int = 4) -> None:
        check_integer('GRPO', 'group_size', group_size, 2)
        check_number('GRPO', 'eps_low', eps_low, 0, open='low')
        check_number('GRPO', 'eps_high', eps_high, 0, open='low')
        check_number('GRPO', 'kl_coef', kl_coef, 0)
        check_bool('GRPO', 'scale_by_std', scale_by_std)
        check_number('GRPO', 'eps', eps, 0, open='low')
        super().__init__(
            GRPOLoss(group_size, eps_low, eps_high, kl_coef, scale_by_std,
                     eps),
            lr, max_grad_norm, epochs, minibatches)
