"""GDAS over subsets: each batch is distilled with one, the gradient is relaxed."""

import torch
from mmengine import dist
from torch import Tensor
from torch.nn.functional import one_hot

from mmrlkd.arguments import refuse
from mmrlkd.registry import SELECTORS
from mmrlkd.rl import SubsetDistribution

from .subset_search import SubsetSearch


@SELECTORS.register_module()
class GDASSelector(SubsetSearch):
    """GDAS-LS, after Dong and Yang 2019, https://arxiv.org/abs/1910.04465.

    Each batch of training is distilled with one subset, drawn from softmax(α)
    as the argmax of α_s + Gumbel noise; no other level is computed for it. α
    gets the gradient of the relaxed draw p = softmax((α + noise)/τ), by the
    straight-through estimator one_hot − p.detach() + p. All subsets contribute
    to it, not only the drawn one: their effects are sums of the levels' effects.

    Args:
        tau: temperature τ at the start and at the end of the learning; falls
            linearly. A high one spreads the gradient over the subsets. It does
            not change the probability of drawing a subset.
        **kwargs: see :class:`.subset_search.SubsetSearch`.
    """

    def __init__(self, tau: tuple[float, float] = (10.0, 0.1),
                 **kwargs) -> None:
        super().__init__(**kwargs)
        if len(tau) != 2 or not tau[0] >= tau[1] > 0:
            refuse('GDASSelector', 'tau', tau, 'two temperatures > 0, the '
                   'second not above the first')
        self._bounds = tau[0], tau[1]
        self.tau = tau[0]

    def set_progress(self, fraction: float) -> None:
        begin, end = self._bounds
        self.tau = begin + (end - begin) * fraction

    def draw(self) -> Tensor:
        """(2^L,) Gumbel noise."""
        # −log of an exponential variable has the standard Gumbel distribution.
        exponential = torch.empty_like(self._cost_shares).exponential_()
        noise = -exponential.clamp(
            min=torch.finfo(exponential.dtype).tiny).log()
        dist.broadcast(noise)
        return noise

    def train_levels(self, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.single(self._drawn(noise, 1.0).mode())

    def mixture(self, noise: Tensor | None) -> Tensor:
        relaxed = self._drawn(noise, self.tau)
        # In this order of operations the value is exactly one-hot: 1 − p + p
        # would be rounded.
        return one_hot(relaxed.mode(), len(self.alpha)) + (
            relaxed.probs - relaxed.probs.detach())

    def _drawn(self, noise: Tensor | None, tau: float) -> SubsetDistribution:
        assert noise is not None, 'nothing was drawn'
        return SubsetDistribution((self.alpha + noise) / tau, self._feasible)
