"""DARTS over subsets: every batch is distilled with a mixture of all of them."""

import torch
from torch import Tensor

from mmrlkd.arguments import check_choice
from mmrlkd.registry import SELECTORS
from mmrlkd.rl import subset_table
from mmrlkd.structures import LevelSpace

from .subset_search import SubsetSearch


@SELECTORS.register_module()
class DARTSSelector(SubsetSearch):
    """DARTS-LS, after Liu et al. 2019, https://arxiv.org/abs/1806.09055.

    In training every image is distilled at every level of any affordable
    subset, level i with weight Σ_s p_s·1[i ∈ s]/|s| (or /L, where weights are
    not normalised), p = softmax(α). The mixture may cost more than the budget;
    the subset that is found does not.

    The held-out loss does not contain α, so the paper's first order, which
    drops the derivative of the student's step, has no gradient here. Both
    orders of this class keep that derivative. They differ in the parameters at
    which the held-out gradient is taken.

    Args:
        order: 1 takes the held-out gradient at the student's parameters; 2 at
            those after its next step, as in equation 7 of the paper, at the
            price of one more forward and backward pass.
        **kwargs: see :class:`.subset_search.SubsetSearch`.
    """

    def __init__(self, order: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)
        self.order = check_choice('DARTSSelector', 'order', order, (1, 2))

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        table = subset_table(len(space), torch.device('cpu'))
        # On the CPU: it does not depend on α, and the host needs it to know
        # which levels to compute.
        self._levels = table[self._feasible].any(dim=0)

    def train_levels(self, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._levels, self.weigh(self.mixture(noise))

    def mixture(self, noise: Tensor | None) -> Tensor:
        return self.distribution().probs
