"""At which budgets an image is worth looking at, and what is run at the others."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BlindRule:
    """One setting for all images, at the budgets where a controller earns no more.

    Looking at an image and choosing take a part of the budget, which is worth it
    only where images differ in what they need. LiteReconfig (Xu et al. 2022,
    https://doi.org/10.1145/3492321.3519577) weighs the two in the same way.

    Attributes:
        value: (S,) what each setting is worth on average.
        budgets: (G,) in ms, ascending.
        looks: (G,) bool, whether looking pays at each of them.
    """
    value: Tensor
    budgets: Tensor
    looks: Tensor

    @classmethod
    def always_look(cls, value: Tensor) -> Self:
        """Looks at every image; ``value`` (S,) decides where there is no choice."""
        return cls(value, torch.ones(1), torch.ones(1, dtype=torch.bool))

    @classmethod
    def of_gains(cls, value: Tensor, budgets: Tensor, gains: Tensor) -> Self:
        """Looks where that surely earns more on average: by more than two standard
        errors, so that an interval of 95 % excludes 0. Of rules that earn the same,
        the one that needs no look is cheaper.

        Args:
            value: (S,) see above.
            budgets: (G,) likewise.
            gains: (N, G) what looking at each of N images earned at each budget.
        """
        error = gains.std(0) / math.sqrt(len(gains))
        return cls(value, budgets, gains.mean(0) > 2 * error)

    def looks_at(self, budget_ms: np.ndarray) -> np.ndarray:
        """(B,) bool, whether to look at images of budgets (B,) in ms of the
        profile's machine; between two budgets, as at the nearer one."""
        middles = (self.budgets[1:] * self.budgets[:-1]).sqrt().numpy()
        return self.looks.numpy()[np.searchsorted(middles, budget_ms)]

    def state_dict(self) -> dict[str, Any]:
        """Tensors."""
        return dict(value=self.value, budgets=self.budgets, looks=self.looks)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Self:
        """The rule that had this :meth:`state_dict`."""
        return cls(**state)
