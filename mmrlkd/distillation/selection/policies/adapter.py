"""Bringing a task's pooled maps to the width of the tokens."""

import torch
from torch import Tensor, nn

from mmrlkd.structures import LevelSpace, State

from .encoder import orthogonal


class InputAdapter(nn.Module):
    """Brings a task's pooled maps to the width of the tokens, and with the
    deepest one what else is known of the image: the only weights of
    :class:`.token.TokenPolicy` whose number depends on the levels or the
    context.

    Args:
        space: the levels and the widths of the student's maps.
        width: of what comes out.
    """

    def __init__(self, space: LevelSpace, width: int) -> None:
        super().__init__()
        self.channels = space.level_channels
        self.deepest = orthogonal(
            nn.Linear(space.global_channels + space.context, width))
        self.levels = nn.ModuleList(
            orthogonal(nn.Linear(channels, width))
            for channels in space.level_channels)

    def forward(self, state: State) -> tuple[Tensor, Tensor]:
        """(B, L, width) of the levels and (B, width) of the deepest map."""
        deepest, maps = self._inputs(state)
        return torch.stack([
            adapt(each) for adapt, each in zip(self.levels, maps, strict=True)
        ], dim=-2), self.deepest(deepest)

    @torch.no_grad()
    def fit(self, state: State) -> None:
        """Set the weights by a rule, from what images of the task show.

        What comes out for a map are its first ``width`` principal components
        over the images, in units of the first one's standard deviation; the
        sign of each is such that its loadings sum to at least 0. Components
        that the images do not have are 0. So a new task begins with inputs of
        the size and the order that the shared layers know from other tasks,
        whatever the number and the scale of its channels.

        Args:
            state: (B,), of at least one image.
        """
        deepest, maps = self._inputs(state)
        for layer, features in zip(
                (self.deepest, *self.levels), (deepest, *maps), strict=True):
            _fit(layer, features)

    def _inputs(self, state: State) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the deepest layer and those of the levels take."""
        dtype = self.deepest.weight.dtype  # maps may come in half precision
        return torch.cat([
            state.global_feature.to(dtype), state.context.to(dtype)
        ], dim=-1), state.level_features.to(dtype).split(self.channels, dim=-1)


def _fit(layer: nn.Linear, features: Tensor) -> None:
    mean = features.double().mean(0)
    _, sizes, axes = torch.linalg.svd(
        features.double() - mean, full_matrices=False)
    deviations = sizes / len(features)**.5
    count = min(layer.out_features, len(axes))
    axes = axes[:count] * torch.where(axes[:count].sum(1) < 0, -1., 1.)[:, None]
    # A map that is the same for all images says nothing; rounding is no
    # difference.
    floor = torch.finfo(features.dtype).eps * features.abs().amax()
    largest = deviations[0].clamp(min=float(floor) or 1.)
    kept = deviations[:count, None] > 1e-6 * largest
    weight = torch.zeros_like(layer.weight, dtype=torch.float64)
    weight[:count] = axes.where(kept, 0.) / largest
    layer.weight.copy_(weight)
    layer.bias.copy_(-weight @ mean)
