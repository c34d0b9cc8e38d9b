"""Generalised advantage estimation."""

import torch
from torch import Tensor


def generalized_advantages(rewards: Tensor, values: Tensor, gamma: float,
                           lam: float) -> Tensor:
    """A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γ V_{t+1} − V_t.

    Schulman et al. 2016, https://arxiv.org/abs/1506.02438. The episodes *end*
    after T steps, which the policy can see coming; nothing is cut short, so
    there is no value after the last step to bootstrap from.

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
