"""Actor and critic on a shared trunk."""

from torch import Tensor, nn

from .encoder import orthogonal


class ActorCriticHeads(nn.Module):
    """Two heads of one hidden layer each.

    Args:
        hidden: width of what comes in.
        levels: number of levels L.
        width: width of the heads' hidden layers.
    """

    def __init__(self, hidden: int, levels: int, width: int = 128) -> None:
        super().__init__()
        # With a last layer near zero the policy starts near the uniform one, and
        # the critic near 0: random values would have a negative explained
        # variance (Engstrom et al. 2020, https://arxiv.org/abs/2005.12729).
        self.action = nn.Sequential(
            orthogonal(nn.Linear(hidden, width)), nn.ReLU(),
            orthogonal(nn.Linear(width, levels), gain=0.01))
        self.value = nn.Sequential(
            orthogonal(nn.Linear(hidden, width)), nn.ReLU(),
            orthogonal(nn.Linear(width, 1), gain=0.01))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) logits of the levels and (B,) value."""
        return self.action(hidden), self.value(hidden).squeeze(-1)
