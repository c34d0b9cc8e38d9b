"""A policy without memory: it depends on the state of this step only."""

import torch
from torch import Tensor

from mmrlkd.registry import POLICIES
from mmrlkd.rl.policy import Memory
from mmrlkd.structures import LevelSpace, State

from .base import LevelPolicy
from .encoder import StateEncoder
from .heads import ActorCriticHeads


@POLICIES.register_module()
class MLPPolicy(LevelPolicy):
    """Encoder and heads of :class:`.lstm.LSTMPolicy` without the LSTM. It serves
    as the ablation of the memory, and is enough for one-step episodes.

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
        super().bind(space, horizon)
        self.encoder = StateEncoder(space, horizon, self.hidden,
                                    self.global_dim, self.level_dim)
        self.heads = ActorCriticHeads(self.hidden, len(space))

    def initial(self, batch: int, device: torch.device) -> Memory:
        return ()

    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Combine the encoding (B, hidden) of this step with the memory of the
        earlier ones; here there is none."""
        return encoded, memory

    def score(self, state: State,
              memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        hidden, memory = self.recall(self.encoder(state), memory)
        logits, value = self.heads(hidden)
        return logits, value, memory
