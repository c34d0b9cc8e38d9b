"""Learning from a log: one setting for each image, chosen at random by some policy
whose probabilities (propensities) were written down.

The self-normalised estimator of Swaminathan & Joachims 2015, "The self-normalized
estimator for counterfactual learning" (NeurIPS): of the expected reward of π,

    Σ_i w_i R_i / Σ_i w_i,   w_i = min(π(s_i | x_i) / p_i, M).

Without the division a policy is drawn towards or away from what was logged,
depending on the sign of the rewards; the cap M trades variance for bias.
"""

from dataclasses import dataclass

from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.rl import Algorithm, Batch, Diagnostics, Policy, Rollout, Trainer

from .controller import BudgetObservation
from .deployed import BudgetedController
from .table import ProfileTable


@dataclass(frozen=True)
class LoggedDiagnostics(Diagnostics):
    """One update.

    Attributes:
        estimate: of the policy's expected reward.
        effective: (Σ w)² / (B Σ w²), the share of the episodes that count.
        entropy: of the policy, in nats.
        dropped_episodes: number with a number that is not finite.
        skipped_steps: number of gradient steps that were not taken.
    """
    estimate: Tensor
    effective: Tensor
    entropy: Tensor
    dropped_episodes: Tensor
    skipped_steps: Tensor


@dataclass(frozen=True)
class LoggedLoss(Algorithm):
    """−Σ w R / Σ w − c_e H of one-step episodes whose ``log_prob`` is the log
    of their propensity.

    Attributes:
        cap: M.
        entropy_coef: c_e.
    """
    cap: float = 20.
    entropy_coef: float = 0.01

    diagnostics = LoggedDiagnostics

    def prepare(self, policy: Policy, rollout: Rollout, weight: Tensor) -> Batch:
        assert rollout.reward is not None, 'rewards were logged'
        weight = weight.expand_as(rollout.reward)
        return Batch(
            observation=rollout.observation, action=rollout.action,
            log_prob=rollout.log_prob, advantage=rollout.reward, weight=weight,
            share=weight, target=rollout.reward, batch_size=rollout.batch_size)

    def loss(self, policy: Policy, batch: Batch
             ) -> tuple[Tensor, dict[str, Tensor]]:
        choice, _ = policy.evaluate(batch.observation)
        ratio = (choice.log_prob(batch.action) - batch.log_prob).exp()
        weight = batch.weight * ratio.clamp(max=self.cap)
        total = weight.sum()
        estimate = (weight * batch.advantage).sum() / total.clamp(min=1e-6)
        entropy = (batch.share * choice.entropy()).sum()
        return -estimate - self.entropy_coef * entropy, dict(
            estimate=estimate.detach(),
            effective=(total.square() / (
                batch.weight.sum() * weight.square().sum()).clamp(min=1e-6)
            ).detach(),
            entropy=entropy.detach())


class LoggedReward(Trainer):
    """:class:`LoggedLoss`, one gradient step on all episodes of an update.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        cap: M, most that an episode counts.
        entropy_coef: weight of the entropy, in units of the reward.
        max_grad_norm: the gradient is clipped to this norm.
    """

    def __init__(self, lr: float = 1e-3, cap: float = 20.,
                 entropy_coef: float = 0.01, max_grad_norm: float = 0.5) -> None:
        check_number('budget.logged', 'cap', cap, 0, open='low')
        check_number('budget.logged', 'entropy_coef', entropy_coef, 0)
        if dist.get_world_size() > 1:
            # A quotient of sums over ranks is not the mean of the quotients.
            raise ValueError('LoggedReward learns in one process; accepted: a '
                             'run that is not distributed.')
        super().__init__(LoggedLoss(cap, entropy_coef), lr, max_grad_norm)


def logged_rollout(observation: BudgetObservation, action: Tensor,
                   propensity: Tensor, reward: Tensor) -> Rollout:
    """Logged decisions as episodes (1, B) of one step.

    Args:
        observation: (B,), what a controller would have seen.
        action: (B,) int64, the settings that ran.
        propensity: (B,), with what probability they were chosen.
        reward: (B,).
    """
    return Rollout(
        observation=observation[None], action=action[None],
        log_prob=propensity.log()[None], reward=reward[None],
        batch_size=[1, len(action)])


def estimate(controller: BudgetedController, table: ProfileTable,
             budget_ms: float) -> dict[str, float]:
    """What a controller would have earned, by the self-normalised estimator.

    Args:
        controller: chooses.
        table: a log.
        budget_ms: of all images.

    Returns:
        ``quality`` and ``latency_ms``, means; ``within``, share within the
        budget; ``matched``, the share of the log on which they rest, where the
        controller chose what was logged. NaN where it is 0.
    """
    assert table.propensity is not None, 'a log has them'
    chosen = controller.choose(
        table.features, table.context if table.context.shape[1] else None,
        budget_ms)[:, None]
    same = table.measured.gather(1, chosen).squeeze(1)
    weight, quality, latency = (
        each.gather(1, chosen).squeeze(1)[same] for each in (
            1 / table.propensity, table.quality,
            table.latency + table.looking + controller.overhead_ms))
    total = weight.sum()
    return dict(
        quality=((weight * quality).sum() / total).item(),
        latency_ms=((weight * latency).sum() / total).item(),
        within=((weight * (latency <= budget_ms)).sum() / total).item(),
        matched=same.float().mean().item())
