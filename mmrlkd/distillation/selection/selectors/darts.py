"""DARTS over subsets: distil with all of them, in a mixture."""

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

    In training every image is distilled at every level that some affordable
    subset holds, level i with weight Σ_s p_s·1[i ∈ s]/|s| (or /L, where weights
    are not normalised), p = softmax(α). So
    the mixture as a whole may cost more than the budget; what it finds does
    not.

    α is in the training loss only, so the first order of the paper, which
    drops the student's step, has no task gradient here. ``order`` says where
    the held-out gradient is taken, which meets each level's gradient in
    either case.

    Args:
        order: 1 takes the held-out gradient where the student is; 2 where its
            next step leads, as the paper's second order, for one more forward
            and backward pass.
        **kwargs: see :class:`.subset_search.SubsetSearch`.
    """

    def __init__(self, order: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)
        self.order = check_choice('DARTSSelector', 'order', order, (1, 2))

    def bind(self, space: LevelSpace) -> None:
        super().bind(space)
        table = subset_table(len(space), torch.device('cpu'))
        # On the CPU, for it is known without looking at α.
        self._levels = table[self._feasible].any(dim=0)

    def train_levels(self, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._levels, self.weigh(self.mixture(noise))

    def mixture(self, noise: Tensor | None) -> Tensor:
        return self.distribution().probs
