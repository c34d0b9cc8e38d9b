"""The policy that training starts from: what regression says of each setting."""

import torch
from torch import Tensor

from .controller import Controller
from .table import ProfileTable

#: Weights of the penalty that are tried, per image.
_PENALTIES = torch.logspace(-2, 3, 16)


def warm_start(controller: Controller, table: ProfileTable, strength: float) -> None:
    """Set a controller's prior and its linear layer by the images of a table.

    The prior is what each setting is worth on average. The linear layer adds how far
    an image is known to differ: a ridge regression of the qualities on what is seen of
    the image, whose penalty is chosen by generalised cross-validation (Golub, Heath &
    Wahba 1979, https://doi.org/10.1080/00401706.1979.10489751). It learns from all
    settings of an image, and from few images.

    Args:
        controller: new, and calibrated to the table.
        table: complete.
        strength: difference of log-probabilities of two settings whose mean quality
            differs by the standard deviation among settings.
    """
    worth = table.quality.mean(0)
    scale = strength / worth.std(correction=0).clamp(min=1e-6)
    controller.prior.copy_(scale * (worth - worth.max()))
    inputs = torch.cat([table.features, table.context], 1)
    inputs = (inputs - controller.mean) / controller.deviation
    # That an image is hard in all settings says nothing about them.
    targets = table.quality - worth
    targets = targets - targets.mean(1, keepdim=True)
    weight = _ridge(inputs.double(), targets.double()).float()  # (F, S)
    heads = weight @ torch.linalg.pinv(controller.members)  # what sums to it, nearly
    with torch.no_grad():
        controller.linear.weight.copy_(scale * heads.T)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    """(F, S) weights of inputs (N, F), of mean 0, for targets (N, S)."""
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    projected, images = left.T @ y, len(x)
    best, chosen = torch.inf, torch.zeros_like(values)
    for penalty in _PENALTIES.tolist():
        shrink = values.square() / (values.square() + penalty * images)
        residual = y - left @ (shrink[:, None] * projected)
        # The mean has been fitted, too.
        free = 1 - (shrink.sum() + 1) / images
        error = (residual.square().mean() / free**2).item()
        if free > 0 and error < best:
            best = error
            chosen = values / (values.square() + penalty * images)
    return right.T @ (chosen[:, None] * projected)
