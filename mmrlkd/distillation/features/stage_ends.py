"""Where the stages of a backbone end, from how its library builds it.

The backbone runs once on the probe image; every module that may end a stage
records the map that it put out (:class:`Call`), and :func:`find_ends` chooses
among them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

from torch import Tensor, nn

from .maps import FIRST_NUMBER, USUAL_STAGES, as_maps, token_sizes

#: Attributes in which the libraries' backbones keep their stages: the modules
#: themselves (``stages`` of Swin and ConvNeXt), or the names of these modules
#: (``res_layers`` of ResNet, ``layers`` of MobileNetV2).
STAGE_ATTRIBUTES = ('res_layers', 'stages', 'layers')
_LISTS = (nn.ModuleList, nn.Sequential)
#: Share of a backbone's parameters that its trunk has at least. A list of less
#: is a stem, even if it is the only one of several resolutions (ViG).
TRUNK_SHARE = 0.25


@dataclass(eq=False)
class Call:
    """A call of a module during the probe.

    Attributes:
        name: the module's path in the backbone.
        maps: its output, if that was a feature map.
        version: autograd's version counter of ``maps`` after the call. If the
            counter is higher later, another layer overwrote the map in place.
        flat: whether its output was (B, K), as that of a fully connected layer.
    """
    name: str
    maps: Tensor | None
    version: int = 0
    flat: bool = False

    @property
    def side(self) -> int:
        """Height of the map; 1 where the output was no map."""
        return 1 if self.maps is None else self.maps.shape[-2]


def record_calls(name: str, seen: list[Call]) -> Callable:
    """A forward hook that appends each call of the module ``name``."""
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        maps = as_maps(output, token_sizes(module, inputs))[-1:]
        flat = isinstance(output, Tensor) and output.ndim == 2
        seen.append(Call(name, maps[0], maps[0]._version) if maps
                    else Call(name, None, flat=flat))
    return hook


def candidates(backbone: nn.Module) -> list[str]:
    """Paths of the modules that may end a stage: the backbone's children, and
    the members of those children that are lists."""
    names = []
    for name, child in backbone.named_children():
        names.append(name)
        if isinstance(child, _LISTS):
            names += _members(name, child)
    return names


def find_ends(backbone: nn.Module, seen: Sequence[Call],
              output: Sequence[Tensor], size: int) -> list[Call]:
    """The calls that end the stages, finest first.

    If the backbone declares its stages, they end where it says. Otherwise the
    last module of each resolution ends a stage. Where the backbone has several
    series of modules, such as branches, the series with the most resolutions
    is the trunk and has precedence. The map that the backbone puts out always
    ends the stage of its resolution. A module that ran at several resolutions,
    such as an activation shared by layers, ends none.

    Args:
        backbone: the network.
        seen: all calls of :func:`candidates`, in the order of the forward pass.
        output: the maps that the backbone put out.
        size: height of the probe image in pixels.
    """
    calls: dict[str, Call] = {}
    several: set[str] = set()
    for each in seen:
        if each.name in calls and calls[each.name].side != each.side:
            several.add(each.name)
        if each.side > 1:
            # Removed first: a dict keeps the position of a key's first
            # insertion, and the order of the last calls is wanted.
            calls.pop(each.name, None)
            calls[each.name] = each
    calls = {name: each for name, each in calls.items() if name not in several}
    if not calls:
        return []
    declared = [calls[name] for name in _named_stages(backbone)
                if name in calls]
    by_position = (len(declared) == count_stages(backbone)
                   and not _ends_with_downsampling(declared, size))
    order = list(calls)
    ends: dict[int, Call] = {}
    if by_position:
        ends = dict(enumerate(declared))
    else:
        # The trunk comes last and replaces what the branches had.
        for series in _structure(backbone, calls):
            own: dict[int, Call] = {}
            for name in sorted(filter(calls.__contains__, series),
                               key=order.index):
                own[round(log2(size / calls[name].side))] = calls[name]
            ends |= own
        # Of stride 1 or 2 are stems, not stages.
        ends = {number: end for number, end in ends.items()
                if number >= FIRST_NUMBER}
    if output:
        last = _puts_out(calls, output[-1], ends)
        if last is not None:
            number = (len(declared) - 1 if by_position else
                      round(log2(size / last.side)))
            ends[number] = last
    return [ends[number] for number in sorted(ends)]


def count_stages(backbone: nn.Module) -> int | None:
    """Number of stages that a backbone declares and that are numbered by their
    position: those of a ResNet, however many, or four of another; None if it
    declares none."""
    # What else is a list of another length may have a stem among its members.
    residual = getattr(backbone, 'res_layers', None)
    if isinstance(residual, (list, *_LISTS)):
        return len(residual)
    stages = getattr(backbone, 'stages', None)
    if getattr(backbone, 'num_stages', None) == USUAL_STAGES or (
            isinstance(stages, (list, *_LISTS)) and len(stages) == USUAL_STAGES):
        return USUAL_STAGES
    return None


def _members(name: str, container: nn.Module) -> list[str]:
    """Paths of the members of a list, and of lists inside it."""
    paths = []
    for each, member in container.named_children():
        path = f'{name}.{each}'
        # A ModuleList has no forward pass, so no hook of it would ever run.
        paths += (_members(path, member)
                  if isinstance(member, nn.ModuleList) else [path])
    return paths


def _named_stages(backbone: nn.Module) -> list[str]:
    """Paths of the stages that a backbone declares; empty if it does not."""
    # VGG is one long list, and says where in it each stage ends.
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


def _structure(backbone: nn.Module,
               calls: dict[str, Call]) -> list[list[str]]:
    """The series of modules in which stages may end, the trunk last.

    These are the declared stages, if they put out maps of several resolutions;
    otherwise the lists among the backbone's children; otherwise all of
    ``calls`` as one series, without lists that are stems.

    Args:
        backbone: the network.
        calls: by module, of those that put out maps of one resolution.
    """
    def sides(names: Sequence[str]) -> int:
        return len({calls[name].side for name in names if name in calls})

    declared = _named_stages(backbone)
    if sides(declared) > 1:
        return [declared]
    lists = [_members(name, child) for name, child in backbone.named_children()
             if isinstance(child, _LISTS)]
    lists = sorted((each for each in lists if sides(each) > 1), key=sides)
    if lists and parameter_share(backbone, lists[-1]) < TRUNK_SHARE:
        stems = {name for each in lists for name in each}
        return [[name for name in calls if name not in stems]]
    return lists or [list(calls)]


def parameter_share(backbone: nn.Module, names: Iterable[str]) -> float:
    """Share of a backbone's parameters that modules of these paths have."""
    held = {parameter for name in names
            for parameter in backbone.get_submodule(name).parameters()}
    return sum(each.numel() for each in held) / sum(
        each.numel() for each in backbone.parameters())


def _ends_with_downsampling(stages: Sequence[Call], size: int) -> bool:
    """Whether the stages end with the downsampling for the next one, as those
    of TinyViT do."""
    # Then the first is too coarse, and the last, which has no successor, has
    # the resolution of the one before it.
    return (len(stages) > 1 and stages[-1].side == stages[-2].side
            and size / stages[0].side > 2**FIRST_NUMBER)


def _puts_out(calls: dict[str, Call], output: Tensor,
              ends: dict[int, Call]) -> Call | None:
    """The call whose map is the backbone's output, one in ``ends`` if there is
    one; otherwise the last call with a map of its shape."""
    same = [each for each in calls.values() if each.maps is output]
    alike = [each for each in calls.values() if each.maps is not None
             and each.maps.shape == output.shape]
    mine = [each for each in same if each in ends.values()]
    return next((group[-1] for group in (mine, same, alike) if group), None)
