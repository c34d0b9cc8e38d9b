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
        # Cells, because nn.LSTM runs other kernels with gradients than
        # without: an action's probability would not be the same to the last
        # bit when acting and when learning. And cuDNN's LSTM has no second
        # derivatives, which meta-learning needs.
        self.cells = nn.ModuleList(
            nn.LSTMCell(self.hidden, self.hidden) for _ in range(self.layers))
        for name, parameter in self.cells.named_parameters():
            if 'weight' in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def initial(self, batch: int, device: torch.device) -> Memory:
        zeros = torch.zeros(batch, self.hidden, device=device)
        return ((zeros, zeros), ) * self.layers

    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        # Time is the episode's; images are the batch. (The draft fed the
        # batch as time.)
        output, kept = encoded, []
        for cell, state in zip(self.cells, memory, strict=True):
            output, carried = cell(output, state)
            kept.append((output, carried))
        # The memory is added to what is seen now. Through two fresh layers
        # alone, gates half open, little of the image arrives, and the policy
        # hardly learns to tell images apart.
        return encoded + output, tuple(kept)
