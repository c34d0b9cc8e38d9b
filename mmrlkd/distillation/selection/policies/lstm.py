"""A policy with an LSTM over the steps of an episode."""

import torch
from torch import Tensor, nn

from mmrlkd.registry import POLICIES
from mmrlkd.rl.policy import Memory
from mmrlkd.structures import LevelSpace

from .mlp import MLPPolicy


class EpisodeMemory(nn.ModuleList):
    """Stacked LSTM cells whose state is carried across an episode's steps.

    It uses cells because nn.LSTM runs different kernels with gradients than
    without: the probability of an action would differ in the last bits between
    acting and learning. And cuDNN's LSTM has no second derivatives, which
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
        zeros = torch.zeros(
            batch, self.hidden, device=device, dtype=self[0].weight_hh.dtype)
        return ((zeros, zeros), ) * len(self)

    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """(B, hidden): the encoding of this step plus the LSTM's output; and the
        new memory."""
        # The steps of the episode are the sequence, the images are the batch.
        # The first draft of the method had the images as the sequence.
        output, kept = encoded, []
        for cell, state in zip(self, memory, strict=True):
            output, carried = cell(output, state)
            kept.append((output, carried))
        # A residual connection. At initialisation the gates of a cell are half
        # open; behind two cells little of the image is left, and the policy
        # hardly learns to distinguish images.
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
