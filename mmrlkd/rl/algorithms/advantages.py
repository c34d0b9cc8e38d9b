"""Advantages: the return of an action minus its expectation."""

import torch
from torch import Tensor


def generalized_advantages(rewards: Tensor, values: Tensor, gamma: float,
                           lam: float) -> Tensor:
    """A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γ V_{t+1} − V_t.

    Schulman et al. 2016, https://arxiv.org/abs/1506.02438, equation 16. The
    episodes *terminate* after T steps and are not truncated, so no value is
    bootstrapped after the last step.

    Args:
        rewards: (T, B).
        values: (T, B), estimates at the states in which the actions were
            taken.
        gamma: discount.
        lam: 0 gives the TD error, 1 the Monte-Carlo return minus the value.

    Returns:
        (T, B).
    """
    advantages = torch.empty_like(rewards)
    advantage = next_value = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_value - values[t]
        advantage = delta + gamma * lam * advantage
        advantages[t] = advantage
        next_value = values[t]
    return advantages


def group_advantages(returns: Tensor, weight: Tensor, group_size: int,
                     eps: float, scale_by_std: bool) -> tuple[Tensor, Tensor]:
    """A = (R − mean of the group) / (std of the group + ε).

    Shao et al. 2024, https://arxiv.org/abs/2402.03300. Without the division
    the expected gradient is exactly (G − 1)/G of that of the expected reward,
    because each episode is part of its own baseline. The division gives hard
    and easy images the same weight, and amplifies small differences of rewards.

    Args:
        returns: (B·G,) total reward of each episode, those of a group next to
            each other; finite where the weight is not 0.
        weight: (B·G,), 0 for episodes that are left out of their group, else 1.
        group_size: G.
        eps: ε, in units of the reward.
        scale_by_std: whether to divide; the std is the unbiased one.

    Returns:
        (B·G,) advantages, 0 for episodes that are left out; (B,) bool, groups
        without information: fewer than two episodes, or equal returns.
    """
    returns, weight = (each.view(-1, group_size) for each in (returns, weight))
    count = weight.sum(-1, keepdim=True)
    mean = (weight * returns).sum(-1, keepdim=True) / count.clamp(1)
    deviation = weight * (returns - mean)

    kept = weight > 0
    spread = (returns.masked_fill(~kept, -torch.inf).amax(-1) -
              returns.masked_fill(~kept, torch.inf).amin(-1))
    # Episodes that reach the same subset in another order have equal returns up
    # to rounding, which the division by the deviation would amplify to 1.
    rounding = 8 * torch.finfo(returns.dtype).eps
    tied = spread <= rounding * (weight * returns).abs().amax(-1)

    if scale_by_std:
        variance = deviation.square().sum(-1, keepdim=True) / (
            count - 1).clamp(1)
        deviation = deviation / (variance.sqrt() + eps)
    return deviation.masked_fill(tied[:, None], 0.).flatten(), tied
