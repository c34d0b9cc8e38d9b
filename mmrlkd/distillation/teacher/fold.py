"""Folding a frozen model's batch normalisation into its convolutions.

mmcv's ``fuse_conv_bn`` goes by the order in which modules were registered, and
``torch.fx`` cannot trace the libraries' models. So the model is run once, and what its
operations read is observed: a convolution and a normalisation are one if the second
reads what the first computed, nothing else does, and both run nowhere else.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode

#: Positions among the arguments of ``aten.native_batch_norm(input, weight, bias,
#: running_mean, running_var, training, momentum, eps)``.
_MEAN, _TRAINING = 3, 5


def fold_batch_norm(model: nn.Module, run: Callable[[], Any]) -> int:
    """Fold what can be folded, in place; the normalisation becomes an identity.

    Exact to rounding. Left alone is a normalisation that does not directly follow
    a convolution, or is shared, or uses statistics of the batch; a convolution
    whose output something else reads, too, whose weight is shared, or computed
    (standardised, parametrised); and what ``run`` does not run.

    Args:
        model: in eval mode, without gradients.
        run: runs it on some image; returns all of its maps that are used.

    Returns:
        Number of normalisations folded.
    """
    watch = _Watch(model)
    with torch.no_grad(), watch:
        used = run()
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    pairs = watch.pairs({id(each) for each in tensors(used)})
    for conv, norm in pairs.items():
        _fold(conv, norm)
        for name in names[norm]:
            model.set_submodule(name, nn.Identity())
    return len(pairs)


def tensors(output: Any) -> Iterator[Tensor]:
    """The tensors in nested sequences and dicts."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for each in output:
            yield from tensors(each)


def _fold(conv: _ConvNd, norm: _BatchNorm) -> None:
    # In double precision, so that only the result is rounded.
    values = (conv.weight, conv.bias, norm.running_mean, norm.running_var)
    weight, bias, mean, variance, scale, shift = (
        None if each is None else each.detach().double()
        for each in (*values, norm.weight, norm.bias))
    for key, value in zip(('weight', 'bias'), fuse_conv_bn_weights(
            weight, bias, mean, variance, norm.eps, scale, shift), strict=True):
        setattr(conv, key, nn.Parameter(
            value.to(conv.weight.dtype), requires_grad=False))


class _Watch(TorchDispatchMode):
    """Observes which convolution's output each normalisation reads.

    Args:
        model: that will run.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        layers = list(model.modules())
        self._convs = _owners(layers, _ConvNd, 'weight')
        self._norms = _owners(layers, _BatchNorm, 'running_mean')
        #: What each convolution put out. Kept, so that no other tensor gets its id.
        self._outputs: dict[int, tuple[Tensor, _ConvNd]] = {}
        #: Who reads it: a normalisation, or None for anything else.
        self._readers: dict[int, list[_BatchNorm | None]] = {}
        #: How often each normalisation ran.
        self._runs: Counter[_BatchNorm] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        norm = None
        if func is torch.ops.aten.native_batch_norm.default and (
                not args[_TRAINING]):
            norm = self._norms.get(id(args[_MEAN]))
        if norm is not None:
            self._runs[norm] += 1
        for each in tensors((args, kwargs or {})):
            if id(each) in self._outputs:
                self._readers[id(each)].append(norm)
        output = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            conv = self._convs.get(id(args[1]))
            if conv is not None and not conv.transposed:
                self._outputs[id(output)] = output, conv
                self._readers[id(output)] = []
        return output

    def pairs(self, used: set[int]) -> dict[_ConvNd, _BatchNorm]:
        """The normalisation that can be folded into each convolution.

        Args:
            used: ids of tensors that are read outside of the model.
        """
        readers: dict[_ConvNd, list[_BatchNorm | None]] = {}
        for key, (_, conv) in self._outputs.items():
            mine = self._readers[key]
            # An output without exactly one reader stands for "anything else".
            readers.setdefault(conv, []).append(
                mine[0] if len(mine) == 1 and key not in used else None)
        # Only if all outputs of the convolution go to one normalisation, which
        # reads nothing but them.
        return {
            conv: mine[0] for conv, mine in readers.items()
            if mine[0] is not None and set(mine) == {mine[0]}
            and self._runs[mine[0]] == len(mine)}


def _owners(layers: list[nn.Module], kind: type, key: str) -> dict[int, Any]:
    """The module of some kind that owns each tensor, if it alone does."""
    owners: dict[int, list[nn.Module]] = {}
    for layer in layers:
        # Not getattr, which computes the weight of a parametrised layer.
        for name, value in (*layer.named_parameters(recurse=False),
                            *layer.named_buffers(recurse=False)):
            if name == key:
                owners.setdefault(id(value), []).append(layer)
    return {key: mine[0] for key, mine in owners.items()
            if len(mine) == 1 and isinstance(mine[0], kind)}
