"""The levels that a model has, and reading them while it runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor, nn

from .adapters import TaskAdapter

#: Side of the square image that models are probed with: a multiple of every
#: stride up to 128 whose maps are all larger than one position.
PROBE_SIZE = 256


@dataclass(frozen=True)
class Level:
    """One level of a model's pyramid.

    Attributes:
        name: ``P2``… for a neck's outputs, ``C2``… for a backbone's stages.
        module: ``'neck'`` or ``'backbone'``, whose output it is.
        index: position in that output.
        channels: width of the map.
        size: (h, w) of the map for a probe of :data:`PROBE_SIZE`.
    """
    name: str
    module: str
    index: int
    channels: int
    size: tuple[int, int]

    @property
    def stride(self) -> float:
        """Pixels of the image for one position of the map."""
        return PROBE_SIZE / self.size[0]


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode; restore every submodule's mode on leaving."""
    modes = [(m, m.training) for module in modules for m in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _named(prefix: str, module: str, maps: Sequence[Tensor]) -> list[Level]:
    sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
    first = round(log2(PROBE_SIZE / sizes[0][0]))
    return [
        Level(f'{prefix}{first + i}', module, i, m.shape[1], size)
        for i, (m, size) in enumerate(zip(maps, sizes, strict=True))
    ]


def probe(adapter: TaskAdapter) -> dict[str, Level]:
    """Find a model's levels by running it on one blank image.

    A level is numbered by its stride, 2^k for ``Pk`` and ``Ck``, counted on
    from the first map of the output, so that dilated backbones, whose stride
    stops growing, keep one name for each stage.

    Returns:
        Levels by name: the backbone's stages, then the neck's outputs.
    """
    modules = [adapter.backbone, *filter(None, [adapter.neck])]
    parameter = next(adapter.backbone.parameters())
    image = parameter.new_zeros(1, 3, PROBE_SIZE, PROBE_SIZE)
    with torch.no_grad(), evaluating(*modules):
        stages = adapter.backbone(image)
        levels = _named('C', 'backbone', stages)
        if adapter.neck is not None:
            levels += _named('P', 'neck', adapter.neck(stages))
    return {level.name: level for level in levels}


def check_level_names(levels: Sequence[str]) -> tuple[str, ...]:
    """The levels a config names, in order and each once.

    Raises:
        ValueError: none, a name that is no level's, or another order.
    """
    names = tuple(levels) if not isinstance(levels, str) else (levels, )
    if not names:
        raise ValueError(
            'levels is empty; accepted: names of pyramid levels, finest '
            "first, such as ('P2', 'P3', 'P4', 'P5').")
    numbers = []
    for name in names:
        if not (isinstance(name, str) and name[:1] in ('P', 'C')
                and name[1:].isdigit()):
            raise ValueError(
                f"levels names {name!r}; accepted: 'P' (a neck's output) or "
                "'C' (a backbone's stage) and log2 of its stride, as 'P3'.")
        numbers.append(int(name[1:]))
    if numbers != sorted(set(numbers)):
        raise ValueError(
            f'levels={names} is not in order; accepted: each level once, '
            'finest first.')
    return names


def choose_levels(adapter: TaskAdapter, names: Sequence[str],
                  owner: str) -> tuple[Level, ...]:
    """Look up the levels a config names.

    Args:
        adapter: of the model that should have them.
        names: level names, finest first.
        owner: ``'student'`` or ``'teacher'``, for the message.

    Raises:
        ValueError: the model lacks a level.
    """
    available = probe(adapter)
    for name in names:
        if name not in available:
            raise ValueError(
                f"levels names {name!r}, which the {owner} "
                f'({type(adapter.model).__name__}) does not have; accepted: '
                f"{', '.join(available)}.")
    return tuple(available[name] for name in names)


@dataclass(frozen=True)
class StudentMaps:
    """What a student's forward pass showed.

    Attributes:
        stages: the backbone's outputs, finest first.
        levels: the maps (B, C_i, H_i, W_i) of the chosen levels.
    """
    stages: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]


class PyramidTap:
    """Reads the maps of a model's levels during its own forward pass.

    Args:
        adapter: of the model to read.
        levels: levels to read.
    """

    def __init__(self, adapter: TaskAdapter, levels: Sequence[Level]) -> None:
        self._levels = levels
        self._outputs: dict[str, tuple[Tensor, ...]] = {}
        self._versions: dict[str, list[int]] = {}
        self._recording = False
        self._leaves = False
        for name in ('backbone', 'neck'):
            module = getattr(adapter, name)
            if module is not None:
                module.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> '_Recorder':
        return _Recorder(self, name)

    def record(self, name: str, maps: Sequence[Tensor]) -> None:
        """Keep a module's output, while recording."""
        if self._recording:
            if self._leaves and any(level.module == name
                                    for level in self._levels):
                for each in maps:
                    if not each.requires_grad:  # of a frozen backbone
                        each.requires_grad_()
            self._outputs[name] = tuple(maps)
            self._versions[name] = [m._version for m in maps]

    @contextmanager
    def recording(self, leaves: bool = False) -> Iterator[None]:
        """Record the forward passes run inside this block.

        Args:
            leaves: make the maps differentiable even where a frozen module
                gave them, for a reward that asks for gradients at them.
        """
        self._outputs.clear()
        self._recording = True
        self._leaves = leaves
        try:
            yield
        finally:
            self._recording = False

    def take(self) -> StudentMaps:
        """Hand over what was recorded and forget it.

        Raises:
            RuntimeError: a later layer overwrote a map in place, so that it
                no longer holds the level.
        """
        outputs, self._outputs = self._outputs, {}
        for level in self._levels:
            tapped = outputs[level.module][level.index]
            if tapped._version != self._versions[level.module][level.index]:
                raise RuntimeError(
                    f'Level {level.name} of the student was overwritten in '
                    'place after it was computed; set inplace=False on the '
                    'activation that follows it.')
        return StudentMaps(
            outputs['backbone'],
            tuple(outputs[level.module][level.index]
                  for level in self._levels))


class _Recorder:
    """A forward hook that survives deep copies (a closure would not)."""

    def __init__(self, tap: PyramidTap, name: str) -> None:
        self.tap = tap
        self.name = name

    def __call__(self, module: nn.Module, inputs: tuple,
                 output: Sequence[Tensor]) -> None:
        self.tap.record(self.name, output)
