"""A learned policy chooses the levels of each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_bool, check_integer, refuse
from mmrlkd.distillation.selection.descriptors import check_context
from mmrlkd.distillation.selection.environment import (
    DecisionProcess,
    SubsetTree,
    subset_costs,
)
from mmrlkd.distillation.selection.mean_cost import (
    LagrangeMultiplier,
    PricedPolicy,
)
from mmrlkd.distillation.unregistered import UnregisteredModule
from mmrlkd.registry import LEARNERS, POLICIES, REWARDS, SELECTORS
from mmrlkd.rl import (
    Diagnostics,
    Gains,
    GainsStorage,
    Rollout,
    RolloutStorage,
    act,
    play,
    without_broken,
)
from mmrlkd.structures import Choice, LevelSpace, Selection, Signals, State

from .adaptation import Adaptation
from .base import Selector

#: τ of a learner of episodes (PPO, GRPO, REINFORCE), in standard deviations of the
#: episodes' returns. Such a learner has no temperature of its own, but the price
#: λ / τ of a mean cost needs one.
TEMPERATURE = 1.0


@dataclass(frozen=True)
class PolicyChoice(Choice):
    """A choice, and the input of a learner of gains.

    Attributes:
        known: (B,), see :meth:`.DecisionProcess.known`; None where nothing is
            learned, or where the learner uses the episode.
    """
    known: State | None = None


@SELECTORS.register_module()
class PolicySelector(Selector):
    """Plays an episode for each image, and learns from its reward.

    In training it samples, in evaluation it takes the likeliest subset at
    each step. While :attr:`learning` is False it selects, but keeps no episode
    and computes no gain.

    A learner of episodes may need several episodes of each image
    (``group_size``). They are played side by side and all kept; the image is
    distilled with the result of the first. A learner of gains needs none: the
    gain of every subset is computed, whatever the episode selected.

    The reward of a subset is its gain minus λ times its share of the cost of
    all levels. The reward of a step is the difference between the subsets held
    after and before it.

    Args:
        policy: config of a policy, by default ``LSTMPolicy``.
        reward: config of a reward, by default ``ResidualReward``. Its
            ``efficiency`` is λ.
        learner: config of a learner, by default ``PPO``.
        horizon: steps T of an episode; 1 chooses all levels at once.
        rollout_batches: batches observed between updates of the policy.
        greedy: in training, sample only in iterations that are learned from,
            and take the likeliest subset at each step in the others. For an
            ablation without planning set ``gamma=0`` in the learner, too.
        mean_cost: the mean cost of an image, in the unit of the levels' costs.
            λ is then fitted to it by dual ascent, see
            :class:`~mmrlkd.distillation.selection.mean_cost.LagrangeMultiplier`.
        context: names of descriptors that the state holds beside the maps, such
            as ``['objects', 'teacher_confidence']``; see :mod:`.descriptors`.
        init: file of a meta-policy (``tools/meta_train.py``) or of a policy
            adapted from one (``tools/adapt.py``) to begin with. ``policy`` is
            then a ``TokenPolicy`` of its architecture and ``learner`` one that
            learns from gains, such as ``ExpectedReward``.
        adapt_steps: gradient steps that adapt the meta-policy, once ``shots``
            images were observed; nothing is learned before.
        shots: images that it is adapted to.
    """

    adaptive = True
    learns = True
    _cost_shares: Tensor
    _spent_since: Tensor

    def __init__(self, policy: dict[str, Any] | None = None,
                 reward: dict[str, Any] | None = None,
                 learner: dict[str, Any] | None = None, horizon: int = 4,
                 rollout_batches: int = 4, greedy: bool = False,
                 mean_cost: float | None = None,
                 context: Sequence[str] = (), init: str | None = None,
                 adapt_steps: int = 5, shots: int = 100) -> None:
        super().__init__()
        self.context = check_context('PolicySelector', context)
        reward = reward or dict(type='mmrlkd.ResidualReward')
        if mean_cost is not None and 'efficiency' in reward:
            refuse('PolicySelector', 'model.selector.reward.efficiency',
                   reward['efficiency'], 'none beside '
                   f'model.selector.mean_cost={mean_cost}, which finds λ')
        self.policy = POLICIES.build(
            policy or dict(type='mmrlkd.LSTMPolicy'))
        self.reward = REWARDS.build(reward)
        self.learner = LEARNERS.build(learner or dict(type='mmrlkd.PPO'))
        self.horizon = check_integer('PolicySelector', 'horizon', horizon, 1)
        self.rollout_batches = check_integer(
            'PolicySelector', 'rollout_batches', rollout_batches, 1)
        self.greedy = check_bool('PolicySelector', 'greedy', greedy)
        self.multiplier = LagrangeMultiplier(self.reward.efficiency, mean_cost)
        self._by_gains = self.learner.needs == 'gains'
        self._adaptation = (
            None if init is None else Adaptation(init, adapt_steps, shots))
        if init is not None and not self._by_gains:
            refuse('PolicySelector', 'learner', type(self.learner).__name__,
                   f'a learner of gains, such as ExpectedReward, for '
                   f'init={init!r} is adapted by gains')
        self.storage: GainsStorage | RolloutStorage = (
            GainsStorage() if self._by_gains else RolloutStorage())

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        self.multiplier.bind(space)
        self.policy.bind(space, self.horizon)
        if self._adaptation is not None:
            self._adaptation.bind(
                self.policy, space, self.reward, self.horizon)
        self.reward.bind(space)
        costs = subset_costs(space.costs)
        self.register_buffer(
            '_cost_shares', (costs / costs[-1]).float(), persistent=False)
        #: Cost of the images distilled since the last update, and their number.
        self.register_buffer('_spent_since', torch.zeros(2), persistent=False)
        # Unregistered, or the policy would be in the state dict twice.
        self._priced = UnregisteredModule(
            PricedPolicy(self.policy, self.multiplier))
        priced = self._priced.module
        self.tree = SubsetTree(space, self.horizon)
        if self._by_gains:
            self.learner.bind(
                priced, self.tree, self._cost_shares[self.tree.outcomes],
                self.multiplier)
        else:
            self.learner.bind(priced)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Choice:
        learning = self.training and self.learning
        sampling = learning or self.training and not self.greedy
        copies = self.learner.group_size if learning else 1
        # Before the episode: playing it moves the process on.
        known = process.known() if learning and self._by_gains else None
        if copies > 1:
            process = process.repeated(copies)
        policy, episode = self._priced.module, None
        if learning:
            episode = play(process, policy, explore=sampling)
        else:
            act(process, policy, explore=sampling)
        # The copies of an image are next to each other: every first one counts.
        levels = process.state.selected[::copies]
        return PolicyChoice(
            Selection(levels, self.space.weights(levels)), episode, known)

    @torch.no_grad()
    def spend(self, choice: Choice) -> None:
        if self.multiplier.mean_cost is None:
            return
        costs = self.multiplier.level_costs
        cost = choice.selection.levels.to(costs) @ costs
        self._spent_since += torch.stack(
            [cost.sum(), torch.full_like(cost.sum(), len(cost))])

    @property
    def descriptors(self) -> tuple[str, ...]:
        return self.reward.descriptors

    @property
    def needs_gradients(self) -> bool:
        return self.learning and self.reward.needs_gradients

    @torch.no_grad()
    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        """Compute the reward of the choice and store both.

        Returns:
            ``reward``, the sum over an episode's steps, mean over episodes;
            ``policy_entropy`` in nats, mean over steps and episodes; and
            ``policy.lagrange_multiplier``, the λ of this reward. Empty if the
            choice has no episode.
        """
        episode = choice.episode
        if episode is None:
            return {}
        assert isinstance(choice, PolicyChoice) and episode.entropy is not None
        # λ is read once, so that the log has the one of these rewards.
        gains = self.reward.gains(signals, update=True).float()
        multiplier = self.multiplier.value().clone()
        reward = self._rewards(
            episode.action, gains - multiplier * self._cost_shares)
        if isinstance(self.storage, GainsStorage):
            outcomes = self.tree.outcomes.to(gains.device, non_blocking=True)
            self.storage.add(Gains(
                known=choice.known, gain=gains[:, outcomes],
                weight=torch.ones_like(gains[:, 0]), batch_size=len(gains)))
        else:
            self.storage.add(episode.rewarded(reward))
        return {'reward': reward.sum(0).mean(),
                'policy_entropy': episode.entropy.mean(),
                'policy.lagrange_multiplier': multiplier}

    def _rewards(self, actions: Tensor, worth: Tensor) -> Tensor:
        """(T, B·G) differences of what is held, (T, B·G) int64, in ``worth``
        (B, 2^L). The G episodes of an image are side by side."""
        groups = actions.unflatten(1, (len(worth), -1))
        held = worth.expand(len(actions), *worth.shape).gather(-1, groups)
        # Before the first step the empty subset is held, whose index is 0. The
        # differences of an episode sum to the worth of its last subset.
        nothing = worth[None, :, :1].expand_as(held[:1])
        return held.diff(dim=0, prepend=nothing).flatten(1)

    def learn(self) -> Diagnostics | None:
        if len(self.storage) < self.rollout_batches:
            return None
        waiting = self._adaptation is not None and self._adaptation.pending
        if waiting and not self._enough():
            return None
        observed = self.storage.gather(self._cost_shares.device)
        if waiting:
            assert isinstance(observed, Gains), 'checked when built'
            self._adapt(observed)
        if self.multiplier.mean_cost is not None:
            dist.all_reduce(self._spent_since)
            self.multiplier.correct(self._spent_since[0] / self._spent_since[1])
            self._spent_since.zero_()
        diagnostics = self.learner.update(observed)
        if isinstance(observed, Rollout):
            self.multiplier.update(*self._spent(observed))
        self.storage.clear()
        return diagnostics

    def _enough(self) -> bool:
        """Whether there are images to adapt the meta-policy to."""
        assert self._adaptation is not None and isinstance(
            self.storage, GainsStorage)
        return self._adaptation.ready(self.storage.samples)

    @torch.no_grad()
    def _adapt(self, observed: Gains) -> None:
        """The meta-policy, to the first images whose numbers are finite."""
        assert self._adaptation is not None
        sound = without_broken(observed)
        sound = sound[sound.weight > 0][:self._adaptation.shots]
        costs = self._cost_shares[self.tree.outcomes]
        self._adaptation.adapt(
            self.policy, sound.known, self.tree.nodes(sound.known),
            sound.gain - self.multiplier.value() * costs)

    def _spent(self, episodes: Rollout) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments of :meth:`.LagrangeMultiplier.update`, from the episodes of
        all ranks: mean and variance of their costs, and the temperature."""
        assert episodes.reward is not None, 'rewards are known by now'
        each = torch.stack([self._cost_shares[episodes.action[-1]],
                            episodes.reward.sum(0).nan_to_num(0., 0., 0.)])
        sums = torch.stack([each.sum(-1), each.square().sum(-1),
                            torch.full_like(each[:, 0], each.shape[1])])
        dist.all_reduce(sums)
        mean = sums[0] / sums[2]
        variance = (sums[1] / sums[2] - mean.square()).clamp(min=0)
        return mean[0], variance[0], TEMPERATURE * variance[1].sqrt()

    def set_progress(self, fraction: float) -> None:
        self.learner.set_progress(fraction)

    def run_state(self) -> dict[str, Any]:
        return {
            'policy': self.policy.state_dict(),
            'learner': self.learner.state_dict(),
            'multiplier': self.multiplier.run_state(),
            'reward': self.reward.state_dict(),
            **({} if self._adaptation is None else
               {'adapted': not self._adaptation.pending}),
        }

    def load_run_state(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state['policy'])
        self.learner.load_state_dict(state['learner'])
        if 'multiplier' in state:  # since 0.2
            self.multiplier.load_run_state(state['multiplier'])
        if 'reward' in state:  # not before 0.2
            self.reward.load_state_dict(state['reward'])
        if self._adaptation is not None:
            self._adaptation.pending = not state.get('adapted', True)

    def local_run_state(self) -> dict[str, Any]:
        state = {'rollouts': self.storage.state_dict(),
                 'learner': self.learner.local_state_dict()}
        if self.multiplier.mean_cost is not None:
            state['spent'] = self._spent_since.cpu()
        return state

    def load_local_run_state(self, state: dict[str, Any]) -> None:
        rollouts = state['rollouts']
        if not self._by_gains:
            rollouts = [_of_any_version(rollout) for rollout in rollouts]
        self.storage.load_state_dict(rollouts, _state)
        self.learner.load_local_state_dict(state.get('learner', {}), _state)
        if 'spent' in state:  # since 0.2
            self._spent_since.copy_(state['spent'])


def _state(fields: dict[str, Any]) -> State:
    return State(**fields, batch_size=fields['step'].shape)


def _of_any_version(rollout: dict[str, Any]) -> dict[str, Any]:
    """A stored rollout in today's format. Up to 0.1 the mask was stored beside
    the states, and states had no losses by level."""
    if 'states' not in rollout:
        observation = dict(rollout['observation'])
        observation.setdefault('context', observation['loss'][..., None][..., :0])
        return dict(rollout, observation=observation)
    states = rollout['states']
    return dict(
        observation=dict(
            states, action_mask=rollout['feasible'],
            context=states['loss'][..., None][..., :0],
            level_losses=torch.zeros_like(
                states['selected'], dtype=states['loss'].dtype)),
        action=rollout['actions'], log_prob=rollout['log_probs'],
        value=rollout['values'], reward=rollout['rewards'])
