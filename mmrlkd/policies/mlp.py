"""A policy without memory: it sees this step's state and nothing else."""

import torch
from torch import Tensor

from mmrlkd.registry import POLICIES

from .base import Memory, Policy


@POLICIES.register_module()
class MLPPolicy(Policy):
    """Encoder and heads of :class:`LSTMPolicy` without the LSTM; the ablation
    that shows what memory is worth, and enough for one-step episodes."""

    def initial(self, batch: int, device: torch.device) -> Memory:
        return ()

    def recall(self, encoded: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        return encoded, memory
