"""One distribution over subsets of levels, for every policy and search.

All ``2^L`` subsets are scored and the forbidden ones removed *before*
normalising, so that log-probability, entropy and divergence are exactly those
of what is drawn. Drawing bits first and repairing them afterwards is not: its
log-probability belongs to another distribution, and its gradient points
elsewhere.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.distributions import Categorical


@lru_cache(maxsize=32)
def subset_table(levels: int, device: torch.device) -> Tensor:
    """Every subset of ``levels`` levels.

    Returns:
        (2^L, L) bool; row ``s`` holds the bits of ``s``, level 0 the lowest.
    """
    # Inference mode must not leak into a table that gradients use later.
    with torch.inference_mode(False):
        index = torch.arange(2**levels, device=device)
        bits = torch.arange(levels, device=device)
        return (index[:, None] >> bits & 1).bool()


def subset_costs(costs: tuple[float, ...]) -> Tensor:
    """(2^L,) float64 on the CPU: what each subset costs altogether."""
    table = subset_table(len(costs), torch.device('cpu'))
    return table.double() @ torch.tensor(costs, dtype=torch.float64)


class SubsetDistribution:
    """Distribution over the feasible subsets of levels.

    Args:
        logits: (…, L), one logit a level, a subset's score being the sum of
            its levels' (independent Bernoullis conditioned on feasibility);
            or (…, 2^L), a free score for each subset. A score that is not a
            number counts as 0: an overflowed image still gets a feasible
            subset, and the learner drops its episode.
        feasible: (…, 2^L) bool, at least one true in every row.
    """

    def __init__(self, logits: Tensor, feasible: Tensor) -> None:
        scores = logits
        if logits.shape[-1] != feasible.shape[-1]:
            table = subset_table(logits.shape[-1], logits.device)
            # Acting happens under the student's autocast, learning does not;
            # both must give an action the same probability.
            with torch.autocast(logits.device.type, enabled=False):
                scores = logits @ table.T.to(logits.dtype)
        scores = scores.nan_to_num(nan=0., posinf=0., neginf=0.)
        self.feasible = feasible
        self._categorical = Categorical(
            logits=scores.masked_fill(~feasible, -torch.inf),
            validate_args=False)

    @property
    def probs(self) -> Tensor:
        """(…, 2^L), exactly 0 where infeasible."""
        return self._categorical.probs

    def sample(self) -> Tensor:
        """(…,) int64, index of a drawn subset."""
        # The race of exponential clocks, which torch.multinomial runs too,
        # without its look at the result, for which a GPU would be waited for.
        probs = self.probs.detach()
        clocks = torch.empty_like(probs).exponential_()
        return (probs / clocks.clamp(min=torch.finfo(probs.dtype).tiny)).argmax(-1)

    def mode(self) -> Tensor:
        """(…,) int64, index of the likeliest subset."""
        return self._categorical.logits.argmax(-1)

    def log_prob(self, index: Tensor) -> Tensor:
        """(…,), log-probability of the subsets ``index`` (…,)."""
        return self._categorical.log_prob(index)

    def entropy(self) -> Tensor:
        """(…,), in nats, 0·log 0 being 0."""
        return -(self.probs * self._feasible_only(
            self._categorical.logits)).sum(-1)

    def kl(self, other: 'SubsetDistribution') -> Tensor:
        """(…,), KL(self ‖ other) in nats; infinite where ``other`` forbids
        what this distribution allows."""
        difference = self._categorical.logits - other._categorical.logits
        return (self.probs * self._feasible_only(difference)).sum(-1)

    def _feasible_only(self, terms: Tensor) -> Tensor:
        # −inf·0 is NaN, also in the backward pass: replace, don't multiply.
        return terms.masked_fill(~self.feasible, 0.)
