"""Running means over the training images."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

#: Weight of a batch in a running mean, from the 20th update on.
MOMENTUM = 0.05


class StreamMean(nn.Module):
    """The running mean of numbers (B, …) over the images: the n-th update has
    the weight max(1/n, :data:`MOMENTUM`), so that the first ones are averaged
    evenly and the mean needs no bias correction.

    Numbers that are not finite are left out, each by itself. The mean is equal on
    all ranks.

    Args:
        *shape: of an image's numbers; none for one number.
    """

    mean: Tensor
    updates: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(shape))
        self.register_buffer('updates', torch.zeros(shape))

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Move towards a batch's ``values`` (B, …)."""
        values = values.detach().to(self.mean)
        finite = values.isfinite()
        sums = torch.stack([values.where(finite, 0.).sum(0),
                            finite.sum(0).to(values.dtype)])
        all_reduce(sums)
        seen = sums[1] > 0
        self.updates.add_(seen)
        weight = (1 / self.updates.clamp(min=1)).clamp(min=MOMENTUM)
        batch = sums[0] / sums[1].clamp(min=1)
        self.mean.copy_(torch.where(
            seen, torch.lerp(self.mean, batch, weight), self.mean))

    @property
    def unit(self) -> Tensor:
        """The mean as a divisor > 0; 1 before the first update."""
        return torch.where(
            self.updates > 0, self.mean, torch.ones_like(self.mean)).clamp(
                min=torch.finfo(self.mean.dtype).tiny)
