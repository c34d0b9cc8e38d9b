"""How long a setting will take on an image: a prediction with an upper bound.

For each setting a regression predicts the median, and split conformal prediction
(Papadopoulos et al. 2002, https://doi.org/10.1007/3-540-36755-1_29; Lei et al. 2018,
https://arxiv.org/abs/1604.04173) turns it into a bound that holds with the wanted
probability for a new image, whatever the distribution, as long as images of the
profile and new ones are exchangeable. It holds for each setting on average over
images; not for each image, and not for the settings that a controller picks
because of what it sees. So the share of violations is measured as well.

A new image is run once, and a median of several runs spreads less than one of them.
So bounds are of single runs, where the table has some.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from mmrlkd.arguments import check_number, refuse

from .table import ProfileTable


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """Predicts median and upper quantile of each setting's latency.

    Attributes:
        median: (S,) in ms, of the images it was fitted to.
        ratio: (S,), upper quantile of a run's latency / prediction.
        marginal: (S,) in ms, upper quantile where nothing is known of an image.
        mean: (F,) of the features.
        weight: (F, S); the prediction is median · exp((feature − mean) weight).
            All 0 without regression.
        quantile: probability with which a latency is below its bound.
    """
    median: Tensor
    ratio: Tensor
    marginal: Tensor
    mean: Tensor
    weight: Tensor
    quantile: float

    @classmethod
    def fit(cls, table: ProfileTable, quantile: float = 0.97,
            ridge: float | None = None) -> Self:
        """Fit to all images of a table.

        Args:
            table: complete, or a log.
            quantile: of the bound, in (0, 1).
            ridge: weight of the penalty in a ridge regression of the log-latency
                on the standardised features, per image. It needs images of its
                own: half of them fit it, the other half calibrate. None predicts
                the median for every image.

        Raises:
            ValueError: too few images of a setting for this quantile.
        """
        owner = 'budget.latency'
        check_number(owner, 'quantile', quantile, 0, 1, open='both')
        if ridge is not None:
            check_number(owner, 'ridge', ridge, 0, open='low')
        logs = table.latency.log()
        # Alternate images, so that a trend over the profiling is in both halves.
        calibrate = torch.ones(len(table), dtype=torch.bool)
        if ridge is not None:
            calibrate[::2] = False
        fitted = logs if ridge is None else logs[~calibrate]
        centre = fitted.nanmedian(0).values
        mean = table.features.mean(0)
        weight = torch.zeros(table.features.shape[1], logs.shape[1])
        if ridge is not None:
            weight = _ridge(table.features[~calibrate] - mean,
                            fitted - centre, ridge)
        single = (table.latency if table.single is None else table.single).log()

        def bound(residual: Tensor, images: Tensor) -> Tensor:
            return torch.stack([
                _conformal(residual[images & table.measured[:, s], s], quantile,
                           table.space.describe(s))
                for s in range(len(table.space))]).exp()

        predicted = centre + (table.features - mean) @ weight
        return cls(centre.exp(), bound(single - predicted, calibrate),
                   bound(single, torch.ones_like(calibrate)), mean, weight,
                   quantile)

    @cached_property
    def by_image(self) -> bool:
        """Whether the prediction is not the same for all images."""
        return bool(self.weight.any())

    def predict(self, features: Tensor) -> Tensor:
        """(B, S) in ms, of images with features (B, F)."""
        if not self.by_image:
            return self.median.expand(len(features), -1)
        return self.median * ((features - self.mean) @ self.weight).exp()

    def upper(self, features: Tensor) -> Tensor:
        """(B, S) in ms, what a setting's latency is below with probability
        ``quantile``."""
        return self.predict(features) * self.ratio

    def allowed(self, features: Tensor, budget_ms: Tensor,
                overhead_ms: float | Tensor = 0.) -> tuple[Tensor, Tensor]:
        """The settings that fit into a budget.

        Args:
            features: (B, F).
            budget_ms: (B,).
            overhead_ms: what the decision adds, to each setting (S,) or to all.

        Returns:
            (B, S) bool, the settings whose upper quantile fits; where none does,
            the one of the lowest bound. (B,) bool, whether any fits.
        """
        upper = self.upper(features) + overhead_ms
        fits = upper <= budget_ms[:, None]
        feasible = fits.any(1)
        cheapest = torch.zeros_like(fits).scatter_(
            1, upper.argmin(1, keepdim=True), True)
        return torch.where(feasible[:, None], fits, cheapest), feasible

    def state_dict(self) -> dict[str, Any]:
        """Tensors, and the quantile."""
        return dict(median=self.median, ratio=self.ratio,
                    marginal=self.marginal, mean=self.mean, weight=self.weight,
                    quantile=self.quantile)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Self:
        """The model that had this :meth:`state_dict`."""
        return cls(**state)


def _ridge(inputs: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """(F, S) that minimise |inputs w − targets|² / n + penalty |D w|², D being
    the inputs' standard deviations. NaN targets are left out."""
    scale = inputs.std(0, correction=0)
    scale = scale.where(scale > 1e-6, math.inf)
    x, columns = (inputs / scale).double(), []
    for y in targets.double().unbind(1):
        known = ~y.isnan()
        gram = x[known].T @ x[known]
        gram += penalty * known.sum() * torch.eye(len(gram), dtype=gram.dtype)
        columns.append(torch.linalg.solve(gram, x[known].T @ y[known]))
    return torch.stack(columns, 1).float() / scale[:, None]


def _conformal(residuals: Tensor, quantile: float, setting: str) -> Tensor:
    """0-dim: the ⌈(n + 1) q⌉-th smallest of n residuals, which a further one
    does not exceed with probability q or more."""
    count = len(residuals)
    rank = math.ceil((count + 1) * quantile)
    if rank > count:
        fewest = math.ceil(quantile / (1 - quantile) - 1e-9)
        refuse('budget.latency', 'quantile', quantile,
               f'at least {fewest} images to calibrate on, for which the setting '
               f'{setting} has {count}, or a lower quantile')
    return residuals.kthvalue(rank).values
