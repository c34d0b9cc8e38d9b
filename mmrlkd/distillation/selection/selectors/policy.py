"""A learned policy chooses for each image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmrlkd.arguments import check_integer
from mmrlkd.distillation.selection.descriptors import check_context
from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.registry import LEARNERS, POLICIES, REWARDS, SELECTORS
from mmrlkd.rl import Diagnostics, RolloutStorage, play, subset_table
from mmrlkd.structures import Choice, LevelSpace, Selection, Signals, State

from .base import Selector


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
        context: names of descriptors that the state shows beside the maps, such
            as ``['objects', 'teacher_confidence']``; see :mod:`.descriptors`.
    """

    adaptive = True
    learns = True
    _costs: Tensor

    def __init__(self, policy: dict[str, Any] | None = None,
                 reward: dict[str, Any] | None = None,
                 learner: dict[str, Any] | None = None, horizon: int = 4,
                 rollout_batches: int = 4, greedy: bool = False,
                 context: Sequence[str] = ()) -> None:
        super().__init__()
        self.context = check_context('PolicySelector', context)
        self.policy = POLICIES.build(
            policy or dict(type='mmrlkd.LSTMPolicy'))
        self.reward = REWARDS.build(
            reward or dict(type='mmrlkd.ResidualReward'))
        self.learner = LEARNERS.build(learner or dict(type='mmrlkd.PPO'))
        self.horizon = check_integer('PolicySelector', 'horizon', horizon, 1)
        self.rollout_batches = check_integer(
            'PolicySelector', 'rollout_batches', rollout_batches, 1)
        self.greedy = greedy
        self.storage = RolloutStorage()

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        self.policy.bind(space, self.horizon)
        self.learner.bind(self.policy)
        self.register_buffer(
            '_costs', torch.tensor(space.costs), persistent=False)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Choice:
        learning = self.training and self.learning
        sampling = learning or self.training and not self.greedy
        copies = self.learner.group_size if learning else 1
        if copies > 1:
            process = process.repeated(copies)
        episode = play(process, self.policy, explore=sampling)
        levels = process.state.selected[::copies]
        return Choice(
            Selection(levels, self.space.weights(levels)),
            episode if learning else None)

    @property
    def descriptors(self) -> tuple[str, ...]:
        return self.reward.descriptors

    @property
    def needs_gradients(self) -> bool:
        return self.learning and self.reward.needs_gradients

    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        """Reward the episode and store it.

        Returns:
            ``reward``, the sum over an episode's steps, mean over episodes,
            and ``policy_entropy`` in nats, mean over steps and episodes; none
            where there was nothing to learn from.
        """
        episode = choice.episode
        if episode is None:
            return {}
        # Subset 0, the empty one, is held before the first step.
        held = torch.cat([torch.zeros_like(episode.action[:1]),
                          episode.action])
        path = subset_table(len(self.space), held.device)[held]
        # The signals are one for the episodes of an image: (T + 1, G, B, L).
        path = path.unflatten(1, (-1, self.learner.group_size)).transpose(1, 2)
        reward = self.reward(path, self._costs, signals).detach()
        reward = reward.transpose(1, 2).flatten(1)
        self.storage.add(episode.rewarded(reward))
        assert episode.entropy is not None, 'just played'
        return {'reward': reward.sum(0).mean(),
                'policy_entropy': episode.entropy.mean()}

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
        self.storage.load_state_dict(
            [_of_any_version(rollout) for rollout in state['rollouts']],
            lambda fields: State(
                **fields, batch_size=fields['step'].shape))


def _of_any_version(rollout: dict[str, Any]) -> dict[str, Any]:
    """A stored rollout as it is written now; up to 0.1 the mask stood beside
    the states, and losses by level were not seen."""
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
