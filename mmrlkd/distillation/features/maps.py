"""Feature maps in what modules put out: reading, ordering, numbering, naming."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

#: Stages of ResNet and of what follows its plan: C2 to C5.
USUAL_STAGES = 4
FIRST_NUMBER = 2
#: Distance of log2(stride) from an integer that still has a number.
NUMBER_TOLERANCE = 0.25


def as_maps(output: Any, sizes: Sequence[Any] = ()) -> tuple[Tensor, ...]:
    """The feature maps (B, C, h, w) that a module's output holds.

    Tokens (B, h·w, C) count as a map if their (h, w) is known: from the output
    itself, as hierarchical transformers return ``(tokens, (h, w))``, or from
    ``sizes``, of which entries that do not fit are passed over. Any other output
    holds no maps.
    """
    if isinstance(output, Tensor):
        if output.ndim == 4:
            return (output, )
        size = next((each for each in sizes if output.ndim == 3
                     and _is_size(each, output.shape[1])), None)
        return () if size is None else (_fold(output, size), )
    if not isinstance(output, Sequence):
        return ()
    if len(output) == 2 and isinstance(output[0], Tensor):
        tokens, size = output
        if tokens.ndim == 3 and _is_size(size, tokens.shape[1]):
            return (_fold(tokens, size), )
    maps = [each for each in output if isinstance(each, Tensor)]
    if len(maps) == len(output) and all(each.ndim == 4 for each in maps):
        return tuple(maps)
    return ()


def token_sizes(module: nn.Module, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """What may be the (h, w) of a module's tokens: its inputs, or, in networks
    of a fixed image size (TinyViT), its attribute ``resolution``."""
    return (*inputs, getattr(module, 'resolution', None))


def as_tokens(output: Any) -> Tensor | None:
    """The tokens (B, h·w, C) that :func:`as_maps` makes a map of, if any."""
    first = output[0] if isinstance(output, Sequence) and output else output
    return first if isinstance(first, Tensor) and first.ndim == 3 else None


def _fold(tokens: Tensor, size: Sequence[int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, tuple(size))


def _is_size(size: Any, positions: int) -> bool:
    return (isinstance(size, Sequence) and len(size) == 2
            and all(isinstance(side, int) for side in size)
            and size[0] * size[1] == positions)


def finest_first(maps: Sequence[Tensor]) -> list[int]:
    """Indices of maps, largest map first; of equal size, in the given order."""
    return sorted(range(len(maps)), key=lambda i: -maps[i].shape[-2:].numel())


def number_levels(strides: Sequence[float], owner: str) -> list[int | None]:
    """The k of Pk or Ck for maps of the given strides, finest first.

    k is log2 of the stride. If the last maps have one stride, as in a dilated
    network, their numbers count on. Other maps of one stride are branches of
    the network, of which only the last has a number.

    Args:
        strides: of the maps; equal ones in the order of their computation.
        owner: the model that they belong to, for messages.

    Raises:
        ValueError: the stride of the finest map is not near a power of two.
    """
    exact = [log2(stride) for stride in strides]
    if abs(exact[0] - round(exact[0])) > NUMBER_TOLERANCE:
        raise ValueError(
            f'{owner} whose finest map has a stride of {strides[0]:g} px, '
            'which is not near a power of two, so that no number says what it '
            'goes with; accepted: strides near 1, 2, 4, 8, …, or a backbone that '
            f'lists its stages (res_layers, or {USUAL_STAGES} stages), which are '
            'numbered by position.')
    rounded = [round(each) for each in exact]
    equal_before_last = any(
        a == b < rounded[-1] for a, b in zip(rounded, rounded[1:]))
    if not equal_before_last:
        first_of_last = rounded.index(rounded[-1])
        return [*rounded[:first_of_last], *range(
            rounded[-1], rounded[-1] + len(rounded) - first_of_last)]
    return [number if number not in rounded[i + 1:] else None
            for i, number in enumerate(rounded)]


def name_maps(module: nn.Module,
              inputs: Any) -> tuple[tuple[Tensor, ...], list[str | None]]:
    """The maps that ``module(inputs)`` puts out, and for each the path of the
    submodule that computes it, or None.

    This is the outermost submodule whose output is the map itself. If there is
    none, as where tokens were reshaped, it is the outermost one whose output
    has the same values.
    """
    # Weak references: the outputs of all submodules together may not fit in
    # memory.
    outputs: list[tuple[str, weakref.ref]] = []

    def refer(name: str) -> Callable:
        def hook(submodule: nn.Module, inputs: Any, output: Any) -> None:
            outputs.extend(
                (name, weakref.ref(each)) for each in _as_sequence(output)
                if isinstance(each, Tensor) and not passed_on(each, inputs))
        return hook

    def passed_on(each: Tensor, inputs: Any) -> bool:
        """Whether a module got a map that no module before it had put out, such
        as a padding that is not needed."""
        return any(each is given for given in inputs) and not any(
            output() is each for _, output in outputs)

    names = [name for name, _ in module.named_modules() if name]
    with forward_hooks(module, names, refer):
        maps = as_maps(module(inputs))
    paths: list[str | None] = []
    for each in maps:
        mine = [name for name, output in outputs if output() is each]
        # Of equally deep submodules the last: an activation that works in
        # place returns the tensor that the layer before it computed.
        paths.append(min(reversed(mine), key=_depth, default=None))
    if None not in paths:
        return maps, paths
    equal: list[str | None] = [None] * len(maps)

    def compare(name: str) -> Callable:
        def hook(submodule: nn.Module, inputs: Any, output: Any) -> None:
            for i, one in enumerate(maps):
                if paths[i] is None and any(
                        _same_values(each, one) and not any(
                            each is given for given in inputs)
                        for each in _as_sequence(output)):
                    equal[i] = _outermost(equal[i], name)
        return hook

    with forward_hooks(module, names, compare):
        module(inputs)
    return maps, [path or other
                  for path, other in zip(paths, equal, strict=True)]


def _depth(path: str) -> int:
    return path.count('.')


def _outermost(path: str | None, name: str) -> str:
    """``name`` if there is no ``path`` yet or it is inside ``name``."""
    # The hook of an outer module runs after those of its submodules.
    return name if path is None or path.startswith(f'{name}.') else path


def _as_sequence(output: Any) -> Sequence[Any]:
    return output if isinstance(output, tuple | list) else (output, )


def _same_values(output: Any, maps: Tensor) -> bool:
    if not isinstance(output, Tensor) or output.numel() != maps.numel():
        return False
    if output.ndim == 3:
        if output.shape[2] != maps.shape[1]:
            return False
        output = output.transpose(1, 2).reshape(maps.shape)
    return output.shape == maps.shape and torch.equal(output, maps)


@contextmanager
def forward_hooks(module: nn.Module, names: Sequence[str],
                  make: Callable[[str], Callable]) -> Iterator[None]:
    """Hook ``make(name)`` to each named submodule inside this block."""
    handles = [
        module.get_submodule(name).register_forward_hook(make(name))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
