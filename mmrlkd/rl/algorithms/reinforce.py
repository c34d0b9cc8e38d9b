"""REINFORCE with a moving baseline.

Williams 1992, https://doi.org/10.1007/BF00992696, with the baseline of Zoph
and Le 2017, https://arxiv.org/abs/1611.01578.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.registry import LEARNERS
from mmrlkd.rl.algorithm import Algorithm, Batch, Diagnostics
from mmrlkd.rl.policy import Policy
from mmrlkd.rl.rollout import Rollout
from mmrlkd.rl.trainer import Trainer

from .advantages import generalized_advantages


@dataclass(frozen=True)
class REINFORCEDiagnostics(Diagnostics):
    """One update.

    Attributes:
        policy_loss: mean of −advantage · log-probability.
        entropy: of the policy, in nats, mean over all steps (0 for a step
            with a single allowed action).
        advantage: return minus baseline, mean over all steps; far from 0 if the
            baseline lags behind.
        dropped_episodes: number with a non-finite state, reward or value.
        skipped_steps: 1 if the update was skipped, because the gradient or every
            episode was not finite.
    """
    policy_loss: Tensor
    entropy: Tensor
    advantage: Tensor
    dropped_episodes: Tensor
    skipped_steps: Tensor


def policy_gradient(log_prob: Tensor, advantage: Tensor,
                    share: Tensor) -> Tensor:
    """0-dim −Σ share · advantage · log-probability, whose gradient is
    REINFORCE's (Williams 1992, theorem 1); all of one shape."""
    return -(share * advantage * log_prob).sum()


@dataclass(frozen=True, eq=False)
class REINFORCELoss(Algorithm):
    """−A log π − c_e H, mean over steps. All steps have the same weight, as in
    PPO: the discount is in the returns only.

    Attributes:
        entropy_coef: c_e, weight of the entropy bonus.
        gamma: discount.
        baseline: (T,) expected return of each step, from earlier episodes only:
            it must not depend on the actions. A 0-dim 0 for none.
    """
    entropy_coef: float
    gamma: float
    baseline: Tensor

    diagnostics = REINFORCEDiagnostics

    def prepare(self, policy: Policy, rollout: Rollout,
                weight: Tensor) -> Batch:
        assert rollout.reward is not None, 'rewards are known by now'
        # Without values and with λ = 1 these are the discounted returns.
        returns = generalized_advantages(
            rollout.reward, torch.zeros_like(rollout.reward), self.gamma, 1.)
        baseline = self.baseline.to(returns.device)
        weight = weight.expand_as(returns)
        return Batch(
            observation=rollout.observation, action=rollout.action,
            log_prob=rollout.log_prob,
            advantage=returns - baseline.view(-1, 1), weight=weight,
            share=weight, target=returns, batch_size=rollout.batch_size)

    def loss(self, policy: Policy,
             batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        choice, _ = policy.evaluate(batch.observation)
        policy_loss = policy_gradient(
            choice.log_prob(batch.action), batch.advantage, batch.share)
        # The entropy of the distribution, not −log π of the sampled action.
        entropy = (batch.share * choice.entropy()).sum()
        return policy_loss - self.entropy_coef * entropy, dict(
            policy_loss=policy_loss.detach(),
            entropy=entropy.detach(),
            advantage=(batch.share * batch.advantage).sum())


@LEARNERS.register_module()
class REINFORCE(Trainer):
    """:class:`REINFORCELoss`, one gradient step on all episodes of an update.

    The baseline is a moving average of each step's return, over the episodes of
    all ranks. It is updated after the advantages are computed: otherwise it would
    depend on the actions, and the gradient would be biased.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        entropy_coef: weight of the entropy bonus.
        gamma: discount.
        baseline_decay: weight of the old baseline in an update, in [0, 1). The
            first updates are averaged equally, so that the baseline does not
            start from 0.
        max_grad_norm: the gradient is clipped to this norm.
    """

    algorithm: REINFORCELoss

    def __init__(self, lr: float = 1e-3, entropy_coef: float = 0.01,
                 gamma: float = 0.99, baseline_decay: float = 0.9,
                 max_grad_norm: float = 0.5) -> None:
        check_number('REINFORCE', 'entropy_coef', entropy_coef, 0)
        check_number('REINFORCE', 'gamma', gamma, 0, 1)
        check_number(
            'REINFORCE', 'baseline_decay', baseline_decay, 0, 1, open='high')
        self.baseline_decay = baseline_decay
        self._updates = 0
        super().__init__(
            REINFORCELoss(entropy_coef, gamma, torch.zeros(())), lr,
            max_grad_norm)

    @property
    def baseline(self) -> Tensor:
        """(T,) once the length of the episodes is known, that is after the
        first update; 0 until then."""
        return self.algorithm.baseline

    def after_step(self, batch: Batch, taken: bool) -> None:
        """Move the baseline towards the returns of an update."""
        returns = (batch.share * batch.target).sum(1) * len(batch)
        dist.all_reduce(returns, 'mean')
        if taken:  # non-finite returns would stay in the average forever
            self._updates += 1
            new = max(1 - self.baseline_decay, 1 / self._updates)
            baseline = self.baseline.to(returns.device)
            self.algorithm = replace(
                self.algorithm, baseline=baseline + new * (returns - baseline))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'baseline': self.baseline,
                'updates': self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.algorithm = replace(self.algorithm, baseline=state['baseline'])
        self._updates = state['updates']
