"""A gating network computes the levels' weights from the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine import dist
from torch import Tensor

from mmrlkd.arguments import check_number
from mmrlkd.distillation.selection.descriptors import check_context
from mmrlkd.distillation.selection.environment import DecisionProcess
from mmrlkd.registry import POLICIES, REWARDS, SELECTORS
from mmrlkd.rl import Descent, Diagnostics, subset_table
from mmrlkd.structures import Choice, LevelSpace, Selection, Signals, State

from .base import Selector


@dataclass(frozen=True)
class GateDiagnostics(Diagnostics):
    """One step of the gate.

    Attributes:
        gain: Σ_i w_i r_i, mean over images.
        entropy: of an image's weights in nats, mean over images.
        dropped_images: number with a non-finite state or reward.
        skipped_steps: 1 if the step was skipped, because a gradient or every
            image was not finite.
    """
    gain: Tensor
    entropy: Tensor
    dropped_images: Tensor
    skipped_steps: Tensor


@dataclass(frozen=True)
class GateChoice(Choice):
    """A choice, and the state that it was computed from.

    Attributes:
        state: (B,); None if nothing will be learned from it.
    """
    state: State | None = None


@SELECTORS.register_module()
class GatedSelector(Selector):
    """CMAPKD: the levels' weights are a softmax, computed from the image.

    All levels are distilled. Under a budget, the affordable subset with the
    largest total weight is.

    The drafts of the method say "a gating network learns the weights" and no
    more. The gate cannot minimise the weighted losses: their sum is smallest
    when all weight is on the level with the smallest loss. This implementation
    maximises, for each image, the reward that a policy would get::

        Σ_i w_i r_i + τ·H(w)

    with r_i the gain of level i selected alone, H the entropy. The maximum is
    at w = softmax(r / τ); the gate reaches it as far as r can be predicted from
    the image. r_i contains no cost: a smaller weight does not make a level
    cheaper. The cost is limited by the budget.

    Args:
        gate: config of the policy whose logits are the gate's, by default an
            ``MLPPolicy``.
        reward: config of a reward, by default ``ResidualReward``; its
            ``efficiency`` is not used.
        temperature: τ > 0; small ones concentrate the weights.
        lr: learning rate of Adam at the start; decays linearly to 0.
        context: names of descriptors that the state shows beside the maps.
    """

    adaptive = True
    learns = True

    def __init__(self, gate: dict[str, Any] | None = None,
                 reward: dict[str, Any] | None = None,
                 temperature: float = 0.1, lr: float = 3e-4,
                 context: Sequence[str] = ()) -> None:
        super().__init__()
        self.context = check_context('GatedSelector', context)
        self.gate = POLICIES.build(gate or dict(type='mmrlkd.MLPPolicy'))
        self.reward = REWARDS.build(
            reward or dict(type='mmrlkd.ResidualReward'))
        self.temperature = check_number(
            'GatedSelector', 'temperature', temperature, 0, open='low')
        self.lr = check_number('GatedSelector', 'lr', lr, 0, open='low')
        # States and rewards (B, L) of the last observation, until `learn`.
        self._observed: list[tuple[State, Tensor]] = []

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        self.gate.bind(space, self.horizon)
        self.reward.bind(space)
        self._descent = Descent(self.gate.parameters(), self.lr, 0.5)

    def weigh(self, state: State) -> Tensor:
        """(B, L), log-weights of all levels, whatever the budget."""
        choice, *_ = self.gate(
            state, self.gate.initial(len(state.step), state.step.device))
        return choice.logits.nan_to_num(0., 0., 0.).log_softmax(-1)

    @torch.no_grad()
    def select(self, process: DecisionProcess) -> Choice:
        weights = self.weigh(process.state).exp()
        # Weights that underflow to 0 would select a level without distilling it.
        weights = weights.clamp(min=torch.finfo(weights.dtype).tiny)
        subsets = subset_table(len(self.space), weights.device)
        held = (weights @ subsets.T.to(weights.dtype)).masked_fill(
            ~process.state.action_mask, -1.)
        levels = subsets[held.argmax(-1)]
        weights = weights * levels
        if self.space.normalize == 'image':
            weights = weights / weights.sum(-1, keepdim=True)
        return GateChoice(
            Selection(levels, weights),
            state=process.state if self.training and self.learning else None)

    @property
    def descriptors(self) -> tuple[str, ...]:
        return self.reward.descriptors

    @property
    def needs_gradients(self) -> bool:
        return self.learning and self.reward.needs_gradients

    def observe(self, signals: Signals, choice: Choice) -> dict[str, Tensor]:
        assert isinstance(choice, GateChoice)
        if choice.state is None:
            return {}
        # The subset of level i alone has the index 2^i.
        alone = [1 << i for i in range(len(self.space))]
        rewards = self.reward.gains(signals, update=True)[:, alone]
        self._observed.append((choice.state, rewards.float()))
        return {}

    def learn(self) -> GateDiagnostics | None:
        if not self._observed:
            return None
        seen, rewards = self._observed.pop()
        finite = (rewards.isfinite().all(-1)
                  & seen.global_feature.isfinite().all(-1)
                  & seen.level_features.isfinite().all(-1))
        # Replaced before the network runs, because 0 · NaN is NaN: a weight of 0
        # afterwards would not keep them out of the gradient.
        log_weights = self.weigh(seen.replace(
            global_feature=seen.global_feature.where(finite[:, None], 0.),
            level_features=seen.level_features.where(finite[:, None], 0.)))
        # The mean over the finite images of all ranks: DDP-like averaging of the
        # gradients divides by the number of ranks, so shares are multiplied by it.
        count = finite.sum().to(rewards.dtype)
        dist.all_reduce(count)
        share = finite * dist.get_world_size() / count.clamp(1)
        weights = log_weights.exp()
        gain = (share * (weights * rewards.where(
            finite[:, None], 0.)).sum(-1)).sum()
        entropy = -(share * (weights * log_weights).sum(-1)).sum()
        taken = self._descent.step(
            -(gain + self.temperature * entropy), count)
        log = torch.stack([gain, entropy]).detach()
        dist.all_reduce(log, 'mean')
        dropped = (~finite).sum().to(rewards.dtype)
        dist.all_reduce(dropped)
        return GateDiagnostics(
            gain=log[0], entropy=log[1], dropped_images=dropped,
            skipped_steps=torch.full_like(dropped, not taken))

    def set_progress(self, fraction: float) -> None:
        self._descent.set_progress(fraction)

    def run_state(self) -> dict[str, Any]:
        return {'gate': self.gate.state_dict(),
                'reward': self.reward.state_dict(),
                'descent': self._descent.state_dict()}

    def load_run_state(self, state: dict[str, Any]) -> None:
        self.gate.load_state_dict(state['gate'])
        self._descent.load_state_dict(state['descent'])
        if 'reward' in state:  # not before 0.2
            self.reward.load_state_dict(state['reward'])
