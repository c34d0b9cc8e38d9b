"""Adam on parameters that are equal on all ranks."""

from collections.abc import Iterable
from typing import Any

import torch
from mmengine import dist
from torch import Tensor, nn


class Descent:
    """Adam steps along gradients that are averaged over ranks and finite.

    Args:
        parameters: what is learned; set to rank 0's values.
        lr: learning rate of Adam at the start; decays linearly to 0.
        max_grad_norm: the gradient is clipped to this norm.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float,
                 max_grad_norm: float) -> None:
        self.lr = lr
        self.max_grad_norm = max_grad_norm
        self.parameters = list(parameters)
        # From here on all ranks take equal steps, so this is the only broadcast.
        for parameter in self.parameters:
            dist.broadcast(parameter.data)
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=lr, eps=1e-5, fused=True)

    def step(self, loss: Tensor, count: Tensor) -> bool:
        """One step along the gradient of ``loss``.

        Args:
            loss: 0-dim, with its graph.
            count: 0-dim, number of decisions of all ranks in its mean.

        Returns:
            Whether the step was taken. All ranks skip it if the gradient is not
            finite or ``count`` is 0.
        """
        self.optimizer.zero_grad()
        loss.backward()
        # The critic of a policy that is trained without values has no gradient,
        # on all ranks.
        dist.all_reduce_params(
            [parameter.grad for parameter in self.parameters
             if parameter.grad is not None], op='mean')
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        # The only number that the host waits for. Without any decision the
        # gradient is 0, but Adam's momentum would still move the parameters.
        sound = bool(norm.isfinite() & (count > 0))
        if sound:
            self.optimizer.step()
        return sound

    def set_progress(self, fraction: float) -> None:
        """Set the share of the training that is over, from 0 to 1."""
        for group in self.optimizer.param_groups:
            group['lr'] = self.lr * (1 - fraction)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {'optimizer': self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, bit for bit."""
        self.optimizer.load_state_dict(state['optimizer'])
