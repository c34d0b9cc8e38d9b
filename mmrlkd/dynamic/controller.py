"""The controller: a small network that chooses how to run a model on an image.

It sees the image feature, an optional context vector and the budget, and has one
categorical head for each knob. Without a mask the heads are independent. A mask
of settings conditions their joint distribution, which then is no product any more:
so it is over settings, with the sum of the heads' logits as scores, to which a prior
is added: what each setting is worth on average.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from tensordict import TensorClass
from torch import Tensor, nn

from mmrlkd.arguments import check_integer, refuse
from mmrlkd.rl.distributions import MaskedCategorical
from mmrlkd.rl.policy import Memory, PolicyModule

#: Most parameters of a controller: it is to cost a few percent of the model.
MOST_PARAMETERS = 500_000


class BudgetEncoding(nn.Module):
    """A budget as numbers: log(budget / reference), and the same as soft bins.

    Bin j of J is a triangle around its centre; the centres divide the range of
    log-budgets evenly. At a centre the bins are one-hot, between two centres they
    are interpolated linearly, so that a linear layer on them is any piecewise
    linear function of the log-budget. Budgets outside of the range, such as
    infinity, count as its ends.

    Args:
        low: lower end of the range, in ms.
        high: upper end.
        reference: the budget whose log is 0, in ms: the full setting's median
            latency.
        bins: J.
    """

    def __init__(self, low: float = 1., high: float = 2., reference: float = 1.,
                 bins: int = 16) -> None:
        super().__init__()
        self.register_buffer('ends', torch.tensor([low, high]).log())
        self.register_buffer('reference', torch.tensor(float(reference)))
        self.bins = check_integer('BudgetEncoding', 'bins', bins, 2)
        self.width = bins + 1

    def forward(self, budget_ms: Tensor) -> Tensor:
        """(B, J + 1) of budgets (B,) > 0."""
        low, high = self.ends.unbind()
        budget = budget_ms.log().clamp(low, high)
        place = (budget - low) / (high - low) * (self.bins - 1)
        centres = torch.arange(self.bins, device=place.device, dtype=place.dtype)
        triangles = (1 - (place[:, None] - centres).abs()).clamp(min=0)
        return torch.cat(
            [(budget - self.reference.log())[:, None], triangles], 1)


class Controller(nn.Module):
    """An MLP with two hidden layers, and a linear layer beside it, which is 0 in a new
    one.

    Args:
        feature_dim: F, numbers of the image feature.
        sizes: number of values of each knob.
        context_dim: C, numbers of the context; 0 for none.
        hidden: width of both layers.
        bins: see :class:`BudgetEncoding`.

    Raises:
        ValueError: it would have more than :data:`MOST_PARAMETERS`.
    """

    def __init__(self, feature_dim: int, sizes: tuple[int, ...],
                 context_dim: int = 0, hidden: int = 128, bins: int = 16) -> None:
        super().__init__()
        owner = 'Controller'
        check_integer(owner, 'hidden', hidden, 1)
        #: The arguments, which a checkpoint keeps.
        self.options: dict[str, Any] = dict(
            feature_dim=feature_dim, sizes=tuple(sizes), context_dim=context_dim,
            hidden=hidden, bins=bins)
        self.encoding = BudgetEncoding(bins=bins)
        self.register_buffer('mean', torch.zeros(feature_dim + context_dim))
        self.register_buffer('deviation', torch.ones(feature_dim + context_dim))
        self.trunk = nn.Sequential(
            nn.Linear(len(self.mean) + self.encoding.width, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU())
        #: The heads of all knobs, side by side.
        self.heads = nn.Linear(hidden, sum(sizes))
        #: Of what is seen of the image, see :mod:`.warm_start`.
        self.linear = nn.Linear(len(self.mean), sum(sizes))
        self.sizes = tuple(sizes)
        #: (Σ n_k, S), which logits are summed for each setting.
        self.register_buffer('members', _members(self.sizes), persistent=False)
        #: (S,) what is added to the scores: what is known before any image is seen.
        self.register_buffer('prior', torch.zeros(self.members.shape[1]))
        count = sum(each.numel() for each in self.parameters())
        if count > MOST_PARAMETERS:
            refuse(owner, 'hidden', hidden,
                   f'a width at which {feature_dim + context_dim} inputs make at '
                   f'most {MOST_PARAMETERS} parameters, not {count}')
        # The policy starts near the prior.
        nn.init.orthogonal_(self.heads.weight, 0.01)
        nn.init.zeros_(self.heads.bias)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def calibrate(self, features: Tensor, context: Tensor, low: float,
                  high: float, reference: float) -> None:
        """Set how inputs are scaled.

        Args:
            features: (N, F) of the training images.
            context: (N, C).
            low: see :class:`BudgetEncoding`.
            high: likewise.
            reference: likewise.
        """
        inputs = torch.cat([features, context], 1)
        self.mean.copy_(inputs.mean(0))
        # A feature that never changes stays 0, and does not blow up elsewhere.
        deviation = inputs.std(0, correction=0)
        self.deviation.copy_(deviation.where(deviation > 1e-6, math.inf))
        self.encoding.ends.copy_(torch.tensor([low, high]).log())
        self.encoding.reference.fill_(reference)

    def forward(self, features: Tensor, context: Tensor | None,
                budget_ms: Tensor) -> list[Tensor]:
        """The logits (B, n_k) of each knob's head.

        Args:
            features: (B, F).
            context: (B, C), or None without context.
            budget_ms: (B,), > 0; may be infinite.
        """
        logits = self._logits(features, context, self.encoding(budget_ms))
        return list(logits.split(self.sizes, 1))

    def scores(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor) -> Tensor:
        """(B, S) unnormalised log-probability of each setting: the sum of its
        choices' logits and its prior."""
        return self.encoded_scores(features, context, self.encoding(budget_ms))

    def encoded_scores(self, features: Tensor, context: Tensor | None,
                       budget: Tensor) -> Tensor:
        """:meth:`scores` of budgets that are encoded already, (B, J + 1)."""
        return self._logits(features, context, budget) @ self.members + self.prior

    def _logits(self, features: Tensor, context: Tensor | None, budget: Tensor
                ) -> Tensor:
        given = features if context is None else torch.cat([features, context], 1)
        given = (given - self.mean) / self.deviation
        return self.linear(given) + self.heads(self.trunk(
            torch.cat([given, budget], 1)))


def _members(sizes: tuple[int, ...]) -> Tensor:
    """(Σ n_k, S) of zeros and ones."""
    choices = torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes))
    return torch.cat([F.one_hot(choice, size) for choice, size in
                      zip(choices.unbind(1), sizes, strict=True)], 1).T.float()


class BudgetObservation(TensorClass):
    """What a controller sees; its batch size is (B,), (T, B), ….

    Attributes:
        features: (…, F).
        context: (…, C).
        budget: (…,) in ms.
        action_mask: (…, S) bool, settings that may be chosen.
    """
    features: Tensor
    context: Tensor
    budget: Tensor
    action_mask: Tensor


class ControllerPolicy(PolicyModule):
    """A controller as a policy of :mod:`mmrlkd.rl`: one step, no memory, no
    critic; an action is a setting.

    Args:
        controller: chooses.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller

    def initial(self, batch: int, device: torch.device) -> Memory:
        return ()

    def forward(self, observation: BudgetObservation, memory: Memory
                ) -> tuple[MaskedCategorical, None, Memory]:
        scores = self.controller.scores(
            observation.features, observation.context, observation.budget)
        return MaskedCategorical(scores, observation.action_mask), None, memory
