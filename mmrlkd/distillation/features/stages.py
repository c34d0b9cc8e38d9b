"""The stages of a backbone: which they are, and reading their maps.

A stage is what the backbone's own library counts as one. Where the backbone
puts out several maps, they are its stages. Otherwise the module that ends each
stage is found from how the library builds the network, see :func:`_structure`.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from .probing import Probe, evaluating

#: Attributes in which the libraries' backbones keep their stages: the modules
#: themselves, or their names.
STAGE_ATTRIBUTES = ('res_layers', 'stages', 'layers')
#: Stages of ResNet and of what follows its plan: numbers 2 to 5.
USUAL_STAGES = 4
FIRST_NUMBER = 2
#: Distance of log2(stride) from an integer that still has a number.
NUMBER_TOLERANCE = 0.25
#: Share of a backbone's parameters that may run, unseen, after its last stage.
UNSEEN_SHARE = 0.25
_LISTS = (nn.ModuleList, nn.Sequential)


def as_maps(output: Any, sizes: Sequence[Any] = ()) -> tuple[Tensor, ...]:
    """The feature maps (B, C, h, w) that a module's output holds.

    Tokens (B, h·w, C) count as a map where their (h, w) stands beside them, as
    hierarchical transformers pass it on, or among ``sizes``; anything else
    does not.
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


def _sizes(module: nn.Module, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """What may tell the (h, w) of tokens: a module's inputs, or, in networks
    of a fixed image size (TinyViT), its own attribute."""
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
    """The order of maps by size; equal ones keep theirs."""
    return sorted(range(len(maps)), key=lambda i: -maps[i].shape[-2:].numel())


def number_levels(strides: Sequence[float], owner: str) -> list[int | None]:
    """The k of Pk or Ck for maps of the given strides, finest first.

    k is log2 of the stride. Where the last maps are of one stride, as those
    of a dilated network, numbers count on. Of other maps of one stride, which
    are branches of the network, the last alone has a number.

    Args:
        strides: of the maps; equal ones in the order they are computed in.
        owner: whose they are, for the message.

    Raises:
        ValueError: a stride of the finest map that is no power of two.
    """
    exact = [log2(stride) for stride in strides]
    if abs(exact[0] - round(exact[0])) > NUMBER_TOLERANCE:
        raise ValueError(
            f'{owner} whose finest map has a stride of {strides[0]:g} px, '
            'which is not near a power of two, so that no number says what it '
            'goes with; accepted: strides near 1, 2, 4, 8, …, or a backbone of '
            f'{USUAL_STAGES} stages (num_stages, res_layers or stages), '
            'which are numbered by position.')
    rounded = [round(each) for each in exact]
    equal_before_last = any(
        a == b < rounded[-1] for a, b in zip(rounded, rounded[1:]))
    if not equal_before_last:
        first_of_last = rounded.index(rounded[-1])
        return [*rounded[:first_of_last], *range(
            rounded[-1], rounded[-1] + len(rounded) - first_of_last)]
    return [number if number not in rounded[i + 1:] else None
            for i, number in enumerate(rounded)]


@dataclass(eq=False)
class _Seen:
    """A call of a module during the probe.

    Attributes:
        name: the module's path in the backbone.
        maps: what it put out, if that was a map.
        version: of ``maps`` at that moment: a later one was written in place.
        flat: whether it put out (B, K), as fully connected layers do.
    """
    name: str
    maps: Tensor | None
    version: int = 0
    flat: bool = False

    @property
    def side(self) -> int:
        """Height of the map; 1 without."""
        return 1 if self.maps is None else self.maps.shape[-2]


class Stages:
    """Reads the stage maps of a backbone, finest first, while it runs.

    Args:
        backbone: image (B, C, H, W) -> feature maps.
        owner: what it belongs to, for the message.
        probe: the image to probe it with.
        search: whether stages that the output does not show count; not where
            a neck follows, which takes the output alone.

    Attributes:
        paths: of each map, the path in the backbone of the module that puts
            it out; None where only the backbone does.
        numbers: of each map, k of ``Ck``; None where it has none.
        shapes: of each map, (C, h, w) for the probe.
        inside: the modules that are hooked; empty where the output is read.

    Raises:
        ValueError: the backbone has no stages, or none that can be told.
    """
    def __init__(self, backbone: nn.Module, owner: str, probe: Probe,
                 search: bool) -> None:
        self.backbone = backbone
        self.paths: tuple[str | None, ...] = ()
        self.numbers: tuple[int | None, ...] = ()
        self.shapes: tuple[tuple[int, int, int], ...] = ()
        self.inside: tuple[str, ...] = ()
        self._who = f'{owner} has a backbone ({type(backbone).__name__})'
        #: Modules whose map a later layer writes over: it is copied.
        self._overwritten: frozenset[str] = frozenset()
        image = probe.image(backbone)
        seen: list[_Seen] = []
        with (torch.no_grad(), evaluating(backbone),
              _hooks(backbone, _candidates(backbone),
                     lambda name: _see(name, seen))):
            output = as_maps(backbone(image))
        if search and len(output) < 2:
            self._find_inside(_ends(backbone, seen, output, probe.size), seen)
        if not self.inside:
            if not output:
                raise ValueError(
                    f'{self._who} without stages: none of its layers shows '
                    'maps of several resolutions; accepted: backbones with '
                    'stages, such as ResNet or Swin.')
            self._read_output(image, seen)
        if not self.numbers:
            self._number_by_stride(probe)

    # -- finding them --------------------------------------------------------

    def _find_inside(self, ends: Sequence[_Seen],
                     seen: Sequence[_Seen]) -> None:
        if len(ends) < 2:
            return
        last = max(seen.index(end) for end in ends)
        unseen = {each.name for each in seen[last + 1:]
                  if each.maps is None and not each.flat}
        if _parameters(self.backbone, unseen) > UNSEEN_SHARE * _parameters(
                self.backbone, ['']):
            raise ValueError(
                f'{self._who} most of whose layers show no maps, so that its '
                'stages cannot be told; accepted: backbones with stages, such '
                'as ResNet or Swin.')
        self.inside = tuple(end.name for end in ends)
        self.paths = self.inside
        self.shapes = tuple(
            _shape(end.maps) for end in ends if end.maps is not None)
        self._overwritten = frozenset(
            end.name for end in ends
            if end.maps is not None and end.maps._version != end.version)
        if _has_usual_stages(self.backbone) and len(ends) == USUAL_STAGES:
            self.numbers = tuple(range(
                FIRST_NUMBER, FIRST_NUMBER + USUAL_STAGES))

    def _read_output(self, image: Tensor, seen: Sequence[_Seen]) -> None:
        with torch.no_grad(), evaluating(self.backbone):
            output, paths = name_maps(self.backbone, image)
        names = [each.name for each in seen]
        ran = [names.index(path) if path in names else -1 for path in paths]
        self._order = sorted(
            range(len(output)),
            key=lambda i: (-output[i].shape[-2:].numel(), ran[i]))
        self.paths = tuple(paths[i] for i in self._order)
        self.shapes = tuple(_shape(output[i]) for i in self._order)
        indices = getattr(self.backbone, 'out_indices', None)
        if (_has_usual_stages(self.backbone)
                and isinstance(indices, Sequence)
                and len(indices) == len(output)
                and set(indices) <= set(range(USUAL_STAGES))):
            positions = sorted(indices)  # maps are put out in this order
            self.numbers = tuple(
                FIRST_NUMBER + positions[i] for i in self._order)

    def _number_by_stride(self, probe: Probe) -> None:
        self.numbers = tuple(number_levels(
            [probe.size / height for _, height, _ in self.shapes], self._who))

    # -- reading them --------------------------------------------------------

    def read(self, i: int, output: Any,
             inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The maps that :meth:`modules`\\ ``[i]`` put out, finest first."""
        if not self.inside:
            maps = as_maps(output)
            return tuple(maps[j] for j in self._order)
        maps = as_maps(output, _sizes(
            self.backbone.get_submodule(self.inside[i]), inputs))
        copy = self.inside[i] in self._overwritten
        return (maps[-1].clone() if copy else maps[-1], )

    def modules(self) -> list[nn.Module]:
        """What to hook: each stage's last module, or the backbone."""
        return [self.backbone.get_submodule(name) for name in self.inside] or [
            self.backbone]

    def run(self, images: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
        """The backbone's own output for ``images``, and its stage maps."""
        if not self.inside:
            output = self.backbone(images)
            return output, self.read(0, output)
        stages: dict[str, Tensor] = {}

        def keep(name: str) -> Callable:
            i = self.inside.index(name)

            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                (stages[name], ) = self.read(i, output, inputs)
            return hook

        with _hooks(self.backbone, self.inside, keep):
            output = self.backbone(images)
        return output, tuple(stages[name] for name in self.inside)


def name_maps(module: nn.Module,
              inputs: Any) -> tuple[tuple[Tensor, ...], list[str | None]]:
    """The maps that ``module(inputs)`` puts out, and for each the path of the
    submodule that computes it, or None.

    That is the outermost whose output is the map itself; if there is none, as
    where tokens are unfolded, the outermost whose output has its values.
    """
    outputs: list[tuple[str, weakref.ref]] = []

    def refer(name: str) -> Callable:
        def hook(submodule: nn.Module, inputs: Any, output: Any) -> None:
            outputs.extend((name, weakref.ref(each)) for each in _flat(output)
                           if isinstance(each, Tensor))
        return hook

    names = [name for name, _ in module.named_modules() if name]
    with _hooks(module, names, refer):
        maps = as_maps(module(inputs))
    paths: list[str | None] = []
    for each in maps:
        mine = [name for name, output in outputs if output() is each]
        # Of equals the last: an activation in place hands on what it got.
        paths.append(min(reversed(mine), key=_depth, default=None))
    if None not in paths:
        return maps, paths
    equal: list[str | None] = [None] * len(maps)

    def compare(name: str) -> Callable:
        def hook(submodule: nn.Module, inputs: Any, output: Any) -> None:
            for i, one in enumerate(maps):
                if paths[i] is None and any(
                        _equal(each, one) for each in _flat(output)):
                    equal[i] = _outermost(equal[i], name)
        return hook

    with _hooks(module, names, compare):
        module(inputs)
    return maps, [path or other
                  for path, other in zip(paths, equal, strict=True)]


def _depth(path: str) -> int:
    return path.count('.')


def _outermost(path: str | None, name: str) -> str:
    """``name`` if it is the first or holds what was first; it ends later."""
    return name if path is None or path.startswith(f'{name}.') else path


def _flat(output: Any) -> Sequence[Any]:
    return output if isinstance(output, tuple | list) else (output, )


def _equal(output: Any, maps: Tensor) -> bool:
    if not isinstance(output, Tensor) or output.numel() != maps.numel():
        return False
    if output.ndim == 3:
        if output.shape[2] != maps.shape[1]:
            return False
        output = output.transpose(1, 2).reshape(maps.shape)
    return output.shape == maps.shape and torch.equal(output, maps)


def _shape(maps: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = maps.shape
    return channels, height, width


def _see(name: str, seen: list[_Seen]) -> Callable:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        maps = as_maps(output, _sizes(module, inputs))[-1:]
        flat = isinstance(output, Tensor) and output.ndim == 2
        seen.append(_Seen(name, maps[0], maps[0]._version) if maps
                    else _Seen(name, None, flat=flat))
    return hook


def _candidates(backbone: nn.Module) -> list[str]:
    """Paths of the children and of what their lists hold."""
    names = []
    for name, child in backbone.named_children():
        names.append(name)
        if isinstance(child, _LISTS):
            names += _members(name, child)
    return names


def _members(name: str, container: nn.Module) -> list[str]:
    """Paths of what a list holds; of lists in a list, which are never called
    themselves, what they hold."""
    paths = []
    for each, member in container.named_children():
        path = f'{name}.{each}'
        paths += (_members(path, member)
                  if isinstance(member, nn.ModuleList) else [path])
    return paths


def _parameters(backbone: nn.Module, names: Sequence[str] | set[str]) -> int:
    return sum({parameter: parameter.numel() for name in names for parameter
                in backbone.get_submodule(name).parameters()}.values())


def _named_stages(backbone: nn.Module) -> list[str]:
    """Paths of the stages that a backbone declares; empty if it does not.

    VGG tells where each ends in its one long list.
    """
    if hasattr(backbone, 'range_sub_modules'):
        return [f'{backbone.module_name}.{end - 1}'
                for _, end in backbone.range_sub_modules]
    for attribute in STAGE_ATTRIBUTES:
        stages = getattr(backbone, attribute, None)
        if isinstance(stages, _LISTS):
            return _members(attribute, stages)
        if isinstance(stages, list) and stages and all(
                isinstance(each, str) and hasattr(backbone, each)
                for each in stages):
            return list(stages)
    return []


def _has_usual_stages(backbone: nn.Module) -> bool:
    """Whether a backbone says that it has four stages."""
    if getattr(backbone, 'num_stages', None) == USUAL_STAGES:
        return True
    return any(
        isinstance(stages, list | nn.Module) and len(stages) == USUAL_STAGES
        for attribute in ('res_layers', 'stages')
        if isinstance(stages := getattr(backbone, attribute, None),
                      (list, *_LISTS)))


def _structure(backbone: nn.Module,
               calls: dict[str, _Seen]) -> list[list[str]]:
    """The series of modules that stages may end in.

    Its declared stages, if their maps can be seen; otherwise the lists among
    its children; otherwise all that :func:`_candidates` has, as one.

    Args:
        backbone: the network.
        calls: of the modules that showed maps of one resolution.
    """
    def sides(names: Sequence[str]) -> int:
        return len({calls[name].side for name in names if name in calls})

    declared = _named_stages(backbone)
    if sides(declared) > 1:
        return [declared]
    lists = [_members(name, child) for name, child in backbone.named_children()
             if isinstance(child, _LISTS)]
    lists = sorted((each for each in lists if sides(each) > 1), key=sides)
    return lists or [list(calls)]


def _ends(backbone: nn.Module, seen: Sequence[_Seen],
          output: Sequence[Tensor], size: int) -> list[_Seen]:
    """The calls that end the stages, finest first.

    Four declared stages end where the library says. Otherwise a stage ends at
    the last module of each resolution; of several series, such as branches, in
    that of the most resolutions, which is the network's trunk. What the
    backbone puts out ends the stage of its resolution. A module that ran at
    several resolutions (an activation that layers share) ends none.
    """
    calls: dict[str, _Seen] = {}
    several: set[str] = set()
    for each in seen:
        if each.name in calls and calls[each.name].side != each.side:
            several.add(each.name)
        if each.side > 1:
            calls.pop(each.name, None)  # in the order of their last call
            calls[each.name] = each
    calls = {name: each for name, each in calls.items() if name not in several}
    if not calls:
        return []
    declared = [calls[name] for name in _named_stages(backbone)
                if name in calls]
    usual = (_has_usual_stages(backbone) and len(declared) == USUAL_STAGES
             and not _ends_with_downsampling(declared, size))
    order = list(calls)
    ends: dict[int, _Seen] = {}
    if usual:
        ends = dict(enumerate(declared))
    else:
        for series in _structure(backbone, calls):  # the trunk last
            own: dict[int, _Seen] = {}
            for name in sorted(filter(calls.__contains__, series),
                               key=order.index):
                own[round(log2(size / calls[name].side))] = calls[name]
            ends |= own
        ends = {number: end for number, end in ends.items()
                if number >= FIRST_NUMBER}
    if output:
        last = _puts_out(calls, output[-1], ends)
        if last is not None:
            number = (USUAL_STAGES - 1 if usual else
                      round(log2(size / last.side)))
            ends[number] = last
    return [ends[number] for number in sorted(ends)]


def _ends_with_downsampling(stages: Sequence[_Seen], size: int) -> bool:
    """Whether what ends a stage is of the next one's resolution (TinyViT):
    the last then has that of the one before, and the first is coarse."""
    return (stages[-1].side == stages[-2].side
            and size / stages[0].side > 2**FIRST_NUMBER)


def _puts_out(calls: dict[str, _Seen], output: Tensor,
              ends: dict[int, _Seen]) -> _Seen | None:
    """The call that gave the backbone's output, or the last of its shape; a
    stage's own end before others."""
    assert output is not None
    same = [each for each in calls.values() if each.maps is output]
    alike = [each for each in calls.values() if each.maps is not None
             and each.maps.shape == output.shape]
    mine = [each for each in same if each in ends.values()]
    return next((group[-1] for group in (mine, same, alike) if group), None)


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
