"""A learned policy chooses for each image."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmrlkd.decision import DecisionProcess, SubsetDistribution, subset_table
from mmrlkd.learners import Diagnostics, RolloutStorage, merge
from mmrlkd.registry import LEARNERS, POLICIES, REWARDS, SELECTORS
from mmrlkd.structures import Evidence, LevelSpace, Rollout, Selection

from .base import Selector


@dataclass(frozen=True)
class EpisodeSummary:
    """The last batch of episodes, for the log; 0-dim tensors.

    Attributes:
        reward: sum over an episode's steps, mean over episodes.
        entropy: of the policy in nats, mean over steps and episodes.
    """
    reward: Tensor
    entropy: Tensor


@SELECTORS.register_module()
class PolicySelector(Selector):
    """Plays an episode for each image, and learns from how it turned out.

    In training it samples, in evaluation it takes the likeliest subset at
    each step. While :attr:`learning` is False it still selects, but keeps no
    episode.

    A learner may want several episodes of each image to compare. Then all of
    them are played side by side and kept, and the image is distilled as the
    first one ends.

    Args:
        policy: config of a policy, by default ``LSTMPolicy``.
        reward: config of a reward, by default ``ResidualReward``.
        learner: config of a learner, by default ``PPO``.
        horizon: steps T of an episode; 1 chooses all levels at once.
        rollout_batches: batches played between updates of the policy.
        greedy: sample in iterations from which it learns only, and take the
            likeliest subset at each step in the others of training too. The
            greedy variant also looks no step ahead: ``gamma=0`` in the
            learner.
    """

    adaptive = True
    learns = True
    _costs: Tensor

    def __init__(self, policy: dict[str, Any] | None = None,
                 reward: dict[str, Any] | None = None,
                 learner: dict[str, Any] | None = None, horizon: int = 4,
                 rollout_batches: int = 4, greedy: bool = False) -> None:
        super().__init__()
        for key, value in (('horizon', horizon),
                           ('rollout_batches', rollout_batches)):
            if value < 1:
                raise ValueError(
                    f'PolicySelector: {key}={value} must be 1 or greater.')
        self.policy = POLICIES.build(
            policy or dict(type='mmrlkd.LSTMPolicy'))
        self.reward = REWARDS.build(
            reward or dict(type='mmrlkd.ResidualReward'))
        self.learner = LEARNERS.build(learner or dict(type='mmrlkd.PPO'))
        self.horizon = horizon
        self.rollout_batches = rollout_batches
        self.greedy = greedy
        self.learning = True
        self.storage = RolloutStorage()
        self.last_episode: EpisodeSummary | None = None
        self._played: Rollout | None = None

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        self.policy.bind(space, self.horizon)
        self.learner.bind(self.policy)
        self.register_buffer(
            '_costs', torch.tensor(space.costs), persistent=False)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Selection:
        learning = self.training and self.learning
        sampling = learning or self.training and not self.greedy
        copies = self.learner.group_size if learning else 1
        if copies > 1:
            process = process.repeated(copies)
        memory = self.policy.initial(process.batch_size, process.device)
        steps, entropies = [], []
        for _ in range(self.horizon):
            state, feasible = process.state, process.feasible()
            logits, value, memory = self.policy(state, memory)
            choice = SubsetDistribution(logits, feasible)
            action = choice.sample() if sampling else choice.mode()
            process.step(action)
            steps.append(Rollout(
                states=state,
                actions=action,
                feasible=feasible,
                log_probs=choice.log_prob(action),
                values=value,
                rewards=torch.full_like(value, torch.nan)))  # not known yet
            entropies.append(choice.entropy())
        if learning:
            self._played = merge(torch.stack, steps)
            self._entropy = torch.stack(entropies).mean()
        levels = process.state.selected[::copies]
        return Selection(levels, levels / levels.sum(-1, keepdim=True))

    @property
    def needs_gradients(self) -> bool:
        return self.learning and self.reward.needs_gradients

    def observe(self, evidence: Evidence) -> None:
        if self._played is None:
            return
        played, self._played = self._played, None
        # Subset 0, the empty one, is held before the first step.
        held = torch.cat([torch.zeros_like(played.actions[:1]),
                          played.actions])
        path = subset_table(len(self.space), held.device)[held]
        # The evidence is one for the episodes of an image: (T + 1, G, B, L).
        path = path.unflatten(1, (-1, self.learner.group_size)).transpose(1, 2)
        rewards = self.reward(path, self._costs, evidence).detach()
        rewards = rewards.transpose(1, 2).flatten(1)
        self.storage.add(replace(played, rewards=rewards))
        self.last_episode = EpisodeSummary(
            rewards.sum(0).mean(), self._entropy)

    def report(self) -> dict[str, Tensor]:
        assert self.last_episode is not None, 'nothing was observed yet'
        return {'reward': self.last_episode.reward,
                'policy_entropy': self.last_episode.entropy}

    def learn(self) -> Diagnostics | None:
        if len(self.storage) < self.rollout_batches:
            return None
        diagnostics = self.learner.update(
            self.storage.gather(self._costs.device))
        self.storage.clear()
        return diagnostics

    def set_progress(self, fraction: float) -> None:
        self.learner.set_progress(fraction)

    def run_state(self) -> dict[str, Any]:
        return {
            'policy': self.policy.state_dict(),
            'learner': self.learner.state_dict(),
        }

    def load_run_state(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state['policy'])
        self.learner.load_state_dict(state['learner'])

    def local_run_state(self) -> dict[str, Any]:
        return {'rollouts': self.storage.state_dict()}

    def load_local_run_state(self, state: dict[str, Any]) -> None:
        self.storage.load_state_dict(state['rollouts'])
