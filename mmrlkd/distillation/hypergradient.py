"""The gradient of DARTS, for any two losses.

Liu, Simonyan, Yang 2019, https://arxiv.org/abs/1806.09055: α is trained on the
validation loss at w'(α), the weights after one more training step. This module
is independent of distillation; :mod:`.step_effect` uses its parts for an α that
weighs the levels' distillation losses.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor
from torch.optim import Optimizer

#: A scalar loss of the weights and of α.
Loss = Callable[[Sequence[Tensor], Tensor], Tensor]


def virtual_step(optimizer: Optimizer,
                 gradients: Mapping[Tensor, Tensor]) -> dict[Tensor, Tensor]:
    """The parameters after a step of the optimizer, which is not taken.

    A copy of the optimizer takes the step, with its present momentum, weight
    decay and learning rates.

    Args:
        optimizer: of the parameters; not changed.
        gradients: by parameter; parameters without a gradient do not move.

    Returns:
        The moved parameters, by parameter.
    """
    # Also copies the parameters, to which the copied optimizer refers.
    twin = deepcopy(optimizer)
    moved = {}
    for group, copied in zip(
            optimizer.param_groups, twin.param_groups, strict=True):
        for parameter, double in zip(
                group['params'], copied['params'], strict=True):
            double.grad = gradients.get(parameter)
            if parameter in gradients:
                moved[parameter] = double.detach()
    twin.step()
    return moved


def directional_derivative(
        function: Callable[[list[Tensor]], Tensor], point: Sequence[Tensor],
        direction: Sequence[Tensor]) -> Tensor:
    """⟨∂f/∂point, direction⟩ for every element of ``f``; exactly 0 for a zero
    direction.

    By forward-mode differentiation, which is exact up to rounding. If an operator
    has no forward derivative (SyncBatchNorm on several GPUs, compiled operators
    of mmcv), by a central difference.

    Args:
        function: f; called once, or twice more for the difference.
        point: where the derivative is taken.
        direction: of the same shapes.
    """
    try:
        with forward_mode.dual_level():
            value = function([
                forward_mode.make_dual(p, d)
                for p, d in zip(point, direction, strict=True)])
            tangent = forward_mode.unpack_dual(value).tangent
            return torch.zeros_like(value) if tangent is None else tangent
    except NotImplementedError:  # what torch raises for such an operator
        return central_difference(function, point, direction)


def central_difference(
        function: Callable[[list[Tensor]], Tensor], point: Sequence[Tensor],
        direction: Sequence[Tensor]) -> Tensor:
    """The same as :func:`directional_derivative`, from two calls of
    ``function`` at ± R/‖direction‖ along the direction.

    The paper has R = 0.01 (section 2.3). But because of kinks (ReLU, pooling) the
    error grows in proportion to R, not to R², and rounding adds ε/R. R = √ε,
    3.5e-4 in single precision, balances the two.
    """
    norm = torch.nn.utils.get_total_norm(direction)
    radius = torch.finfo(norm.dtype).eps ** 0.5
    unit = radius / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    ahead, behind = (
        function([p + sign * unit * d
                  for p, d in zip(point, direction, strict=True)])
        for sign in (1, -1))
    return (ahead - behind) * norm / (2 * radius)


def hypergradient(train_loss: Loss, val_loss: Loss, weights: Sequence[Tensor],
                  alpha: Tensor, optimizer: Optimizer | None = None) -> Tensor:
    """d L_val(w'(α), α)/dα.

    Args:
        train_loss: minimised by the weights.
        val_loss: minimised by α.
        weights: leaves that the optimizer moves.
        alpha: a leaf.
        optimizer: of the weights. With ``torch.optim.SGD`` the result is the
            second order, where w' is after its next step. Momentum and weight
            decay change w', but ∂w'/∂α = −ξ ∂²L_tr/∂w∂α holds with them. None
            gives the first order, w' = w.

    Raises:
        ValueError: another optimizer, for which this does not hold.
    """
    if optimizer is None:
        return torch.autograd.grad(
            val_loss(weights, alpha), alpha, materialize_grads=True)[0]
    # Equations 7 and 8 of the paper: the second term is a Hessian-vector
    # product, without the Hessian.
    rate = _plain_rates(optimizer)
    gradients = torch.autograd.grad(train_loss(weights, alpha), weights)
    moved = virtual_step(optimizer, dict(zip(weights, gradients, strict=True)))
    ahead = [moved[weight].requires_grad_() for weight in weights]
    direct, *vector = torch.autograd.grad(
        val_loss(ahead, alpha), [alpha, *ahead], materialize_grads=True)

    def pull(point: list[Tensor]) -> Tensor:
        return torch.autograd.grad(
            train_loss(point, alpha), alpha, materialize_grads=True)[0]

    return direct - directional_derivative(
        pull, [weight.detach() for weight in weights],
        [rate[weight] * v for weight, v in zip(weights, vector, strict=True)])


def _plain_rates(optimizer: Optimizer) -> dict[Tensor, float]:
    """The learning rate ξ of each parameter."""
    rates = {}
    for group in optimizer.param_groups:
        if not isinstance(optimizer, torch.optim.SGD) or group['nesterov'] or (
                group['dampening']):
            raise ValueError(
                f'optimizer is {optimizer}; accepted: torch.optim.SGD without '
                'nesterov and dampening, or None for the first order.')
        rates.update(dict.fromkeys(group['params'], group['lr']))
    return rates
