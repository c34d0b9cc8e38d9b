"""The interface of policies: one step of an episode, or whole episodes."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mmrlkd.structures import LevelSpace, State, map_tensors

from .encoder import StateEncoder
from .heads import ActorCriticHeads

#: What a policy carries from step to step: (hidden, cell) of each layer,
#: both (B, hidden); empty for a policy without memory.
Memory = tuple[tuple[Tensor, Tensor], ...]


class Policy(nn.Module, ABC):
    """Encoder, memory, heads. No dropout: the probability of an action must
    be the same when acting and when learning.

    Args:
        hidden: width of the encoding.
        global_dim: width given to the global feature.
        level_dim: width given to each level's feature.
    """

    def __init__(self, hidden: int = 256, global_dim: int = 512,
                 level_dim: int = 256) -> None:
        super().__init__()
        self.hidden = hidden
        self.global_dim = global_dim
        self.level_dim = level_dim

    def bind(self, space: LevelSpace, horizon: int) -> None:
        """Build the network for the levels and number of steps at hand."""
        self.encoder = StateEncoder(space, horizon, self.hidden,
                                    self.global_dim, self.level_dim)
        self.heads = ActorCriticHeads(self.hidden, len(space))

    @abstractmethod
    def initial(self, batch: int, device: torch.device) -> Memory:
        """The memory with which ``batch`` episodes start."""

    @abstractmethod
    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Join (B, hidden) of this step with the memory of earlier ones."""

    def forward(self, state: State,
                memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """One step.

        Returns:
            (B, L) logits of the levels, (B,) value and the new memory.
        """
        # Selecting happens inside the student's autocast, learning outside:
        # in half precision their probabilities would differ before an update.
        with torch.autocast(state.step.device.type, enabled=False):
            hidden, memory = self.recall(self.encoder(state), memory)
            logits, value = self.heads(hidden)
        return logits, value, memory

    def evaluate(self, states: State) -> tuple[Tensor, Tensor]:
        """Whole episodes again, by the very steps that acted.

        Args:
            states: fields stacked to (T, B, …).

        Returns:
            (T, B, L) logits and (T, B) values.
        """
        steps, batch = states.step.shape
        memory = self.initial(batch, states.step.device)
        logits, values = [], []
        for t in range(steps):
            state = map_tensors(lambda field, t=t: field[t], states)
            step_logits, value, memory = self(state, memory)
            logits.append(step_logits)
            values.append(value)
        return torch.stack(logits), torch.stack(values)
