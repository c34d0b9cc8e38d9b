"""A policy that remembers the earlier steps of its episode."""

import torch
from torch import Tensor, nn

from mmrlkd.registry import POLICIES
from mmrlkd.structures import LevelSpace

from .base import Memory, Policy


@POLICIES.register_module()
class LSTMPolicy(Policy):
    """An LSTM between encoder and heads, carried across an episode's steps.

    Args:
        hidden: width of the encoding and of the LSTM.
        layers: depth of the LSTM.
        global_dim: width given to the global feature.
        level_dim: width given to each level's feature.
    """

    def __init__(self, hidden: int = 256, layers: int = 2,
                 global_dim: int = 512, level_dim: int = 256) -> None:
        super().__init__(hidden, global_dim, level_dim)
        self.layers = layers

    def bind(self, space: LevelSpace, horizon: int) -> None:
        super().bind(space, horizon)
        self.lstm = nn.LSTM(self.hidden, self.hidden, self.layers)
        for name, parameter in self.lstm.named_parameters():
            if 'weight' in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def initial(self, batch: int, device: torch.device) -> Memory:
        zeros = torch.zeros(self.layers, batch, self.hidden, device=device)
        return zeros, zeros

    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        # The time axis is the episode's, of length 1 here; images are the
        # batch. (The draft fed the batch as time.)
        output, memory = self.lstm(encoded[None], memory)
        return output[0], memory
