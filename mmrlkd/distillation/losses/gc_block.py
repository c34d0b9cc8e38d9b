"""The global context block of FGD."""

import torch
from torch import Tensor, nn


class GcBlock(nn.Module):
    """Adds to every position a vector computed from the whole map.

    The positions are averaged with learned weights (a softmax over H·W), and the
    average goes through linear – LayerNorm – ReLU – linear, with half the width
    inside. The last layer is initialised with zeros, so that the block is the
    identity at first.

    GcBlock of GCNet, Cao et al., 2019, https://arxiv.org/abs/1904.11492, as in
    FGD's code, without the bias of the weights, which the softmax cancels.

    Args:
        channels: width of the maps, at least 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, 1, 1, bias=False)
        self.transform = nn.Sequential(
            nn.Linear(channels, channels // 2), nn.LayerNorm(channels // 2),
            nn.ReLU(), nn.Linear(channels // 2, channels))
        nn.init.kaiming_normal_(self.weigh.weight, nonlinearity='relu')
        nn.init.zeros_(self.transform[-1].weight)
        nn.init.zeros_(self.transform[-1].bias)

    def forward(self, maps: Tensor) -> Tensor:
        """(n, C, H, W) -> (n, C, H, W)."""
        weights = self.weigh(maps).flatten(1).softmax(dim=1)
        context = torch.bmm(maps.flatten(2), weights[..., None]).squeeze(2)
        return maps + self.transform(context)[..., None, None]
