"""The two parts of the gradient of DARTS, for any optimizer and losses.

Liu, Simonyan, Yang 2019, https://arxiv.org/abs/1806.09055: α is trained on the
validation loss at w'(α), the weights after one more training step. Its gradient
(equations 7 and 8) needs that step, and a Hessian-vector product, which is a
directional derivative. :mod:`.step_effect` combines them for an α that weighs the
levels' distillation losses.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor
from torch.optim import Optimizer


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
