"""The stage maps of a backbone, wherever it shows them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .probing import PROBE_SIZE, blank_image, evaluating, on_a_blank_image

#: Containers whose members are looked at, too, when stages are searched.
_LISTS = (nn.ModuleList, nn.Sequential)
#: Stages finer than this are stems.
_FINEST_STRIDE = 4


def as_maps(output: Any) -> tuple[Tensor, ...]:
    """The feature maps (B, C, h, w) that a module's output holds.

    Tokens (B, h·w, C) with their (h, w) beside them, as hierarchical
    transformers pass on, count as a map; anything else does not.
    """
    if isinstance(output, Tensor):
        return (output, ) if output.ndim == 4 else ()
    if not isinstance(output, Sequence):
        return ()
    if len(output) == 2 and isinstance(output[0], Tensor):
        tokens, size = output
        if tokens.ndim == 3 and _is_size(size, tokens.shape[1]):
            return (tokens.transpose(1, 2).unflatten(2, tuple(size)), )
    maps = [each for each in output if isinstance(each, Tensor)]
    if len(maps) == len(output) and all(each.ndim == 4 for each in maps):
        return tuple(maps)
    return ()


def _is_size(size: Any, positions: int) -> bool:
    return (isinstance(size, Sequence) and len(size) == 2
            and all(isinstance(side, int) for side in size)
            and size[0] * size[1] == positions)


def finest_first(maps: Sequence[Tensor]) -> list[int]:
    """The order of maps by size; equal ones keep theirs."""
    return sorted(range(len(maps)), key=lambda i: -maps[i].shape[-2:].numel())


class Stages:
    """Reads the stage maps of a backbone, finest first, while it runs.

    A backbone that puts out several maps is read at its output. Of one that
    puts out its last alone, as classifiers' do, a stage ends at the last
    module of each resolution, among its children and the members of its
    lists.

    Args:
        backbone: image (B, 3, H, W) -> feature maps.
        owner: what it belongs to, for the message.
        look_inside: whether stages that the output does not show count; not
            where a neck follows, which takes the output alone.

    Attributes:
        inside: names of the modules that end its stages; empty where the
            output shows them.

    Raises:
        ValueError: the backbone has no stages.
    """

    def __init__(self, backbone: nn.Module, owner: str,
                 look_inside: bool) -> None:
        self.backbone = backbone
        self.inside: tuple[str, ...] = ()
        seen: list[tuple[str, Tensor]] = []

        def see(name: str) -> Callable:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                seen.extend((name, each) for each in as_maps(output)[-1:])
            return hook

        with (torch.no_grad(), evaluating(backbone),
              on_a_blank_image(owner, backbone),
              _hooks(backbone, _candidates(backbone), see)):
            output = as_maps(backbone(blank_image(backbone)))
        if look_inside and len(output) < 2:
            self.inside = _ends(seen)
        if len(self.inside) < 2 and not output:
            raise ValueError(
                f'{owner} has a backbone ({type(backbone).__name__}) without '
                'stages: none of its layers shows maps of several '
                'resolutions; accepted: backbones with stages, such as '
                'ResNet or Swin.')
        if len(self.inside) < 2:  # one map, as of a plain detector
            self.inside = ()
        self._order = finest_first(output)

    def read(self, output: Any) -> tuple[Tensor, ...]:
        """The maps, finest first, that an output of :meth:`modules` holds."""
        maps = as_maps(output)
        return (maps[-1:] if self.inside else
                tuple(maps[i] for i in self._order))

    def modules(self) -> list[nn.Module]:
        """What to hook: each stage's last module, or the backbone."""
        return [self.backbone.get_submodule(name) for name in self.inside] or [
            self.backbone]

    def run(self, images: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
        """The backbone's own output for ``images``, and its stage maps."""
        if not self.inside:
            output = self.backbone(images)
            return output, self.read(output)
        stages: dict[str, Tensor] = {}

        def keep(name: str) -> Callable:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                (stages[name], ) = self.read(output)
            return hook

        with _hooks(self.backbone, self.inside, keep):
            output = self.backbone(images)
        return output, tuple(stages[name] for name in self.inside)


def _candidates(backbone: nn.Module) -> list[str]:
    names = []
    for name, child in backbone.named_children():
        names.append(name)
        if isinstance(child, _LISTS):
            names += [f'{name}.{each}' for each, _ in child.named_children()]
    return names


@contextmanager
def _hooks(backbone: nn.Module, names: Sequence[str],
           make: Callable[[str], Callable]) -> Iterator[None]:
    handles = [
        backbone.get_submodule(name).register_forward_hook(make(name))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _ends(seen: Sequence[tuple[str, Tensor]]) -> tuple[str, ...]:
    """Of the modules in the order they ran, the last of each resolution; one
    that ran at several (an activation that layers share) ends none."""
    sides: dict[str, set[int]] = {}
    for name, maps in seen:
        sides.setdefault(name, set()).add(maps.shape[-2])
    last: dict[int, str] = {}
    for name, maps in seen:
        side = maps.shape[-2]
        if len(sides[name]) == 1 and 1 < side <= PROBE_SIZE // _FINEST_STRIDE:
            last[side] = name
    return tuple(last[side] for side in sorted(last, reverse=True))
