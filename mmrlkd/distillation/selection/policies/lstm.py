"""A policy that remembers the earlier steps of its episode."""

import torch
from torch import Tensor, nn

from mmrlkd.registry import POLICIES
from mmrlkd.rl.policy import Memory
from mmrlkd.structures import LevelSpace

from .mlp import MLPPolicy


class EpisodeMemory(nn.ModuleList):
    """LSTM cells, one above the other, carried across an episode's steps.

    Cells, because nn.LSTM runs other kernels with gradients than without: an
    action's probability would not be the same to the last bit when acting and
    when learning. And cuDNN's LSTM has no second derivatives, which
    meta-learning needs.

    Args:
        hidden: width of input and output.
        layers: number of cells.
    """

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__(
            nn.LSTMCell(hidden, hidden) for _ in range(layers))
        self.hidden = hidden
        for name, parameter in self.named_parameters():
            if 'weight' in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def initial(self, batch: int, device: torch.device) -> Memory:
        """(hidden, cell) of each layer, both (B, hidden)."""
        zeros = torch.zeros(batch, self.hidden, device=device)
        return ((zeros, zeros), ) * len(self)

    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Join (B, hidden) of this step with the memory of earlier ones."""
        # Time is the episode's; images are the batch. (The draft fed the
        # batch as time.)
        output, kept = encoded, []
        for cell, state in zip(self, memory, strict=True):
            output, carried = cell(output, state)
            kept.append((output, carried))
        # The memory is added to what is seen now. Through two fresh layers
        # alone, gates half open, little of the image arrives, and the policy
        # hardly learns to tell images apart.
        return encoded + output, tuple(kept)


@POLICIES.register_module()
class LSTMPolicy(MLPPolicy):
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
        self.cells = EpisodeMemory(self.hidden, self.layers)

    def initial(self, batch: int, device: torch.device) -> Memory:
        return self.cells.initial(batch, device)

    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        return self.cells.recall(encoded, memory)
