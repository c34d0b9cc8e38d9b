r"""The exact gradient of the expected reward, if the reward of every outcome is
known.

Then J(θ) = Σ_s π_θ(s | x) R(s, x) and ∇J are sums over the outcomes, and no
action needs to be sampled. This is the "all-action" policy gradient of Sutton et
al. 2001 (Comparing policy-gradient algorithms) over whole episodes. It has no
variance from the actions, needs no critic, and old samples need no correction.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_integer, check_number
from mmrlkd.registry import LEARNERS
from mmrlkd.rl.algorithm import Diagnostics, equal_shares
from mmrlkd.rl.environment import Observation
from mmrlkd.rl.policy import Policy, PolicyModule
from mmrlkd.rl.replay import Gains, GainsStorage, without_broken
from mmrlkd.rl.trainer import Learner
from mmrlkd.rl.tree import DecisionTree, Nodes, outcome_probabilities


class Multiplier(Protocol):
    """λ of ``reward = gain − λ · cost``: constant, or fitted to a mean cost."""

    def value(self) -> Tensor:
        """0-dim."""
        ...

    def update(self, mean: Tensor, variance: Tensor,
               temperature: Tensor) -> None:
        """Adapt λ to mean and variance of the cost under the policy, both meaned
        over samples, and to the weight of the entropy in units of the gains;
        0-dim and equal on all ranks."""
        ...


#: Smallest weight of the entropy that is passed to a multiplier, which divides
#: by it.
LEAST = 1e-3


@dataclass(frozen=True)
class ExpectedRewardDiagnostics(Diagnostics):
    """One update; means over its gradient steps unless said otherwise.

    Attributes:
        expected_reward: mean over samples of Σ_s π(s | x) R(s, x).
        regret: mean over samples of max_s R(s, x) − Σ_s π(s | x) R(s, x).
        expected_cost: mean over samples of Σ_s π(s | x) cost(s).
        cost_variance: mean over samples of the variance of cost(s) under π.
        entropy: of the policy, in nats, mean over all steps.
        dropped_episodes: number of new samples with a non-finite number.
        skipped_steps: number of gradient steps not taken, because the gradient
            or every sample was not finite.
    """
    expected_reward: Tensor
    regret: Tensor
    expected_cost: Tensor
    cost_variance: Tensor
    entropy: Tensor
    dropped_episodes: Tensor
    skipped_steps: Tensor


@dataclass(frozen=True)
class ExpectedRewardBatch:
    """Samples prepared for the loss; no tensor has a graph.

    Attributes:
        nodes: of each of the T steps.
        reward: (B, S), of each outcome.
        cost: (S,), of each outcome.
        unit: 0-dim, size of the differences between the gains of a sample.
        share: (B,), weight of a sample in the loss; see :class:`.Batch`.
    """
    nodes: Sequence[Nodes]
    reward: Tensor
    cost: Tensor
    unit: Tensor
    share: Tensor


@dataclass(frozen=True)
class ExpectedRewardLoss:
    """−Σ_s π(s | x) R(s, x) / u − c_e H(π(· | x)), mean over samples.

    ``loss(policy, batch)`` depends on its arguments only, changes nothing, and is
    twice differentiable in the policy's weights.

    Attributes:
        entropy_coef: c_e. H is the entropy of the outcome, so the optimum is
            π ∝ exp(R / (u c_e)). The unit u makes c_e independent of the scale
            of the rewards.
    """
    entropy_coef: float = 0.01

    diagnostics: ClassVar = ExpectedRewardDiagnostics

    def loss(self, policy: Policy, batch: ExpectedRewardBatch
             ) -> tuple[Tensor, dict[str, Tensor]]:
        """The 0-dim loss with its graph, and 0-dim stats without one."""
        probability, entropies = outcome_probabilities(policy, batch.nodes)
        reward = (probability * batch.reward).sum(-1)
        entropy = entropies.sum(0)
        loss = -(batch.share * (
            reward / batch.unit + self.entropy_coef * entropy)).sum()
        with torch.no_grad():
            cost = (probability * batch.cost).sum(-1)
            each = dict(
                expected_reward=reward,
                regret=batch.reward.amax(-1) - reward,
                expected_cost=cost,
                cost_variance=(
                    probability * batch.cost.square()).sum(-1) - cost.square(),
                entropy=entropies.mean(0))
            stats = {name: (batch.share * value).sum()
                     for name, value in each.items()}
        return loss, stats


@LEARNERS.register_module()
class ExpectedReward(Learner):
    """:class:`ExpectedRewardLoss` on samples of the last batches.

    Samples do not depend on the policy, so old ones are used like new ones, as
    long as the gains do not change. The cost is subtracted when learning, with
    the present λ, and not when a sample is stored.

    Args:
        lr: learning rate of Adam at the start; decays linearly to 0.
        entropy_coef: c_e, weight of the entropy, in units of the differences
            between the rewards of a sample.
        steps: gradient steps of an update.
        batch_size: samples of a step on each rank, drawn from those that are
            kept; None for all of them.
        replay: number of updates whose samples are kept.
        max_grad_norm: the gradient is clipped to this norm.
    """

    needs = 'gains'

    def __init__(self, lr: float = 1e-3, entropy_coef: float = 0.05,
                 steps: int = 8, batch_size: int | None = 64,
                 replay: int = 64, max_grad_norm: float = 0.5) -> None:
        super().__init__(lr, max_grad_norm)
        owner = type(self).__name__
        check_number(owner, 'entropy_coef', entropy_coef, 0)
        if batch_size is not None:
            check_integer(owner, 'batch_size', batch_size, 1)
        self.steps = check_integer(owner, 'steps', steps, 1)
        self.batch_size = batch_size
        self.algorithm = ExpectedRewardLoss(entropy_coef)
        self.replay = GainsStorage(check_integer(owner, 'replay', replay, 1))

    def bind(self, policy: PolicyModule, tree: DecisionTree | None = None,
             cost: Tensor | None = None,
             multiplier: Multiplier | None = None) -> None:
        """See :meth:`.trainer.Learner.bind`.

        Args:
            policy: built.
            tree: all paths of its episodes.
            cost: (S,), of each outcome of the tree.
            multiplier: λ of the cost.

        Raises:
            ValueError: there is no tree.
        """
        if tree is None or cost is None or multiplier is None:
            raise ValueError(
                'ExpectedReward learns from what every outcome of an episode '
                'is worth; accepted: bind(policy, tree, cost, multiplier), as '
                'PolicySelector does, or PPO, GRPO or REINFORCE.')
        super().bind(policy)
        self._tree, self._cost, self._multiplier = tree, cost, multiplier

    def update(self, gains: Gains) -> ExpectedRewardDiagnostics:
        """Update the policy from these samples and those of earlier updates.

        Called by all ranks together, each with its own samples.
        """
        gains = without_broken(gains)
        self.replay.add(gains)
        # One unit for the whole update: with one for each step, the weight of the
        # entropy would vary with the drawn samples.
        kept = self.replay.gather(gains.weight.device)
        unit = self._unit(kept)
        temperature = max(self.algorithm.entropy_coef, LEAST) * unit
        logs: list[Tensor] = []
        names: tuple[str, ...] = ()
        skipped = 0
        for part, nodes in self._drawn(kept):
            batch, count = self.prepare(part, nodes, unit)
            loss, stats = self.algorithm.loss(self.policy, batch)
            # Means over the ranks, so that λ moves by the same step on all of them.
            names, log = tuple(stats), torch.stack(list(stats.values()))
            dist.all_reduce(log, 'mean')
            if self._descent.step(loss, count):
                self._multiplier.update(
                    log[names.index('expected_cost')],
                    log[names.index('cost_variance')], temperature)
            else:
                skipped += 1
            logs.append(log)

        dropped = (1 - gains.weight).sum()
        dist.all_reduce(dropped)
        return self.algorithm.diagnostics(
            **dict(zip(names, torch.stack(logs).mean(0), strict=True)),
            dropped_episodes=dropped,
            skipped_steps=torch.full_like(dropped, skipped))

    def prepare(self, gains: Gains, nodes: Sequence[Nodes], unit: Tensor
                ) -> tuple[ExpectedRewardBatch, Tensor]:
        """The batch of the loss, with the present multiplier.

        Args:
            gains: (B,), the samples.
            nodes: of each step, for these samples.
            unit: 0-dim.

        Returns:
            The batch, and the 0-dim number of samples of weight 1 on all ranks.
        """
        count = gains.weight.sum()
        dist.all_reduce(count)
        return ExpectedRewardBatch(
            nodes, self._reward(gains),
            self._cost.to(gains.gain, non_blocking=True), unit,
            equal_shares(gains.weight, count)), count

    def _reward(self, gains: Gains) -> Tensor:
        """(B, S), gain minus λ times cost."""
        cost = self._cost.to(gains.gain, non_blocking=True)
        return gains.gain - self._multiplier.value().to(cost) * cost

    def _unit(self, gains: Gains) -> Tensor:
        """0-dim: root of the mean variance of a sample's gains. Costs are left
        out: with them the unit would change with the multiplier."""
        sums = torch.stack([
            (gains.weight * gains.gain.var(-1, correction=0)).sum(),
            gains.weight.sum()])
        dist.all_reduce(sums)
        size = (gains.weight[:, None] * gains.gain).abs().amax()
        dist.all_reduce(size, 'max')
        # A lower bound: where all gains of a sample are equal, the division
        # would amplify their rounding errors to 1.
        finfo = torch.finfo(gains.gain.dtype)
        return (sums[0] / sums[1].clamp(1)).sqrt().clamp(
            min=8 * finfo.eps * size).clamp(min=finfo.tiny)

    def _drawn(self, gains: Gains
               ) -> Iterable[tuple[Gains, Sequence[Nodes]]]:
        """The samples of each gradient step, with replacement, and their nodes."""
        if self.batch_size is None:
            return [(gains, self._tree.nodes(gains.known))] * self.steps
        chosen = torch.randint(len(gains), (self.steps * self.batch_size, ))
        # The samples of all steps in one indexing, and their nodes at once: the
        # overhead of each call is larger than its work.
        drawn = gains[chosen.to(gains.weight.device, non_blocking=True)]
        nodes = [
            [each._replace(observation=part)
             for part in each.observation.split(self.batch_size)]
            for each in self._tree.nodes(drawn.known)]
        return zip(drawn.split(self.batch_size), zip(*nodes, strict=True),
                   strict=True)

    def local_state_dict(self) -> dict[str, Any]:
        return {'replay': self.replay.state_dict()}

    def load_local_state_dict(self, state: dict[str, Any], observation:
                              Callable[[dict], Observation]) -> None:
        self.replay.load_state_dict(state['replay'], observation)
