"""Encodes a state as a vector of fixed width, for the MLP and LSTM policies."""

import math

import torch
from torch import Tensor, nn

from mmrlkd.structures import LevelSpace, State


def orthogonal(layer: nn.Linear, gain: float = math.sqrt(2)) -> nn.Linear:
    """Initialise as PPO's reference implementation does (Engstrom et al.,
    2020, https://arxiv.org/abs/2005.12729): orthogonal, no bias."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class StateEncoder(nn.Module):
    """Encodes states: Linear–ReLU–LayerNorm–Linear–ReLU, plus the step.

    Args:
        space: the levels and the widths of the student's maps.
        horizon: number of steps T.
        hidden: width of the encoding.
        global_dim: width given to the global feature.
        level_dim: width given to each level's feature. Maps of other widths
            are projected, not truncated.
    """

    def __init__(self, space: LevelSpace, horizon: int, hidden: int,
                 global_dim: int, level_dim: int) -> None:
        super().__init__()
        self.level_channels = space.level_channels
        self.global_projection = projection(space.global_channels, global_dim)
        self.level_projections = nn.ModuleList(
            projection(channels, level_dim)
            for channels in space.level_channels)
        #: Numbers in a state: features, loss, levels selected, budget left.
        self.width = global_dim + len(space) * (level_dim + 1) + 2
        self.layers = nn.Sequential(
            orthogonal(nn.Linear(self.width, hidden)), nn.ReLU(),
            nn.LayerNorm(hidden), orthogonal(nn.Linear(hidden, hidden)),
            nn.ReLU())
        # The number of steps left decides what can still be earned, so the
        # critic needs the step. It is an index, hence an embedding.
        self.step = nn.Embedding(horizon, hidden)
        nn.init.zeros_(self.step.weight)
        # A layer of its own, whose weights have norm 1 per input: in the first
        # layer a descriptor would be one input among 1500.
        self.context = nn.Sequential(
            orthogonal(nn.Linear(space.context, hidden), math.sqrt(hidden)),
            nn.ReLU()) if space.context else None

    def vector(self, state: State) -> Tensor:
        """(B, width), concatenated: global feature, level features, loss,
        selected, budget left."""
        dtype = self.step.weight.dtype  # maps may come in half precision
        features = state.level_features.to(dtype).split(
            self.level_channels, dim=-1)
        return torch.cat([
            self.global_projection(state.global_feature.to(dtype)),
            *(project(feature) for project, feature in zip(
                self.level_projections, features, strict=True)),
            state.loss[:, None],
            state.selected.to(dtype),
            state.budget_left[:, None],
        ], dim=-1)

    def forward(self, state: State) -> Tensor:
        """(B, hidden)."""
        hidden = self.layers(self.vector(state)) + self.step(state.step)
        if self.context is None:
            return hidden
        return hidden + self.context(state.context.to(hidden))


def projection(channels: int, width: int) -> nn.Module:
    """A layer from ``channels`` to ``width`` features; the identity if equal."""
    if channels == width:
        return nn.Identity()
    return orthogonal(nn.Linear(channels, width))
