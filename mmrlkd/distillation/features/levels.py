"""The levels of a model, and reading their maps during its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .maps import as_maps, as_tokens, finest_first, name_maps, number_levels
from .probing import evaluating

if TYPE_CHECKING:
    from .adapters import TaskAdapter


@dataclass(frozen=True)
class Level:
    """One level of a model's pyramid.

    Attributes:
        name: ``P2``… for a neck's outputs, ``C2``… for a backbone's stages.
        module: ``'neck'`` or ``'backbone'``, the part that puts out the map.
        index: position among the neck's outputs or the backbone's stages.
        channels: width of the map.
        size: (h, w) of the map for the probe image.
        stride: pixels of the image for one position of the map.
        path: path in the model of the module that puts out the map, such as
            ``backbone.layer3``; ``neck[4]`` if no submodule does.
    """
    name: str
    module: str
    index: int
    channels: int
    size: tuple[int, int]
    stride: float
    path: str

    @property
    def in_backbone(self) -> bool:
        """Whether it is a stage, which cannot learn while the backbone is
        frozen."""
        return self.module == 'backbone'


def find_levels(adapter: TaskAdapter) -> dict[str, Level]:
    """Find a model's levels by running it on one image.

    :func:`.maps.number_levels` numbers them by stride; but a backbone that
    lists its stages has them from C2 on by position, whatever their strides
    (:func:`.stage_ends.count_stages`).

    Returns:
        Levels by name: the backbone's stages, then the neck's outputs.

    Raises:
        ValueError: the backbone or the neck puts out no feature maps.
    """
    stages = adapter.stages
    levels = [
        Level(f'C{number}', 'backbone', i, shape[0], (shape[1], shape[2]),
              adapter.probe.size / shape[1],
              f'backbone.{path}' if path else f'backbone[{i}]')
        for i, (number, path, shape) in enumerate(zip(
            stages.numbers, stages.paths, stages.shapes, strict=True))
        if number is not None]
    if adapter.neck is not None:
        levels += _neck_levels(adapter, adapter.neck)
    return {level.name: level for level in levels}


def _neck_levels(adapter: TaskAdapter, neck: nn.Module) -> list[Level]:
    owner = f'{adapter.owner} has a neck ({type(neck).__name__})'
    with torch.no_grad(), evaluating(*adapter.parts):
        output = adapter.backbone(adapter.probe_image())
        maps, paths = name_maps(neck, output)
        if not maps:
            raise ValueError(
                f'{owner} that puts out no feature maps; accepted: a neck '
                'whose outputs are maps (B, C, h, w).')
    order = finest_first(maps)
    strides = [adapter.probe.size / maps[i].shape[-2] for i in order]
    return [
        Level(f'P{number}', 'neck', i, maps[i].shape[1],
              (maps[i].shape[-2], maps[i].shape[-1]), stride,
              f'neck.{paths[i]}' if paths[i] else f'neck[{i}]')
        for number, stride, i in zip(
            number_levels(strides, owner), strides, order, strict=True)
        if number is not None]


def check_level_names(levels: Sequence[str],
                      key: str = 'levels') -> tuple[str, ...]:
    """Check the level names of a config.

    Args:
        levels: names from the config, finest first.
        key: their config key, for messages.

    Raises:
        ValueError: there is none, a name is not a level's, or they are not in
            order, each once.
    """
    names = tuple(levels) if not isinstance(levels, str) else (levels, )
    if not names:
        raise ValueError(
            f'{key} is empty; accepted: names of pyramid levels, finest '
            "first, such as ('P2', 'P3', 'P4', 'P5').")
    numbers = []
    for name in names:
        if not (isinstance(name, str) and name[:1] in ('P', 'C')
                and name[1:].isdigit()):
            raise ValueError(
                f"{key} names {name!r}; accepted: 'P' (a neck's output) or "
                "'C' (a backbone's stage) and log2 of its stride, as 'P3'.")
        numbers.append(int(name[1:]))
    if numbers != sorted(set(numbers)):
        raise ValueError(
            f'{key}={names} is not in order; accepted: each level once, '
            'finest first.')
    return names


def choose_levels(adapter: TaskAdapter, names: Sequence[str] | None,
                  key: str = 'levels') -> tuple[Level, ...]:
    """The levels a config names.

    Args:
        adapter: of the model.
        names: level names, finest first; None for all outputs of the neck or,
            in a model without neck, all stages of the backbone.
        key: config key of ``names``, for messages.

    Raises:
        ValueError: the model lacks a level.
    """
    available = adapter.levels
    # Not both: without a neck the stages are the pyramid.
    if names is None:
        kind = 'backbone' if adapter.neck is None else 'neck'
        return tuple(level for level in available.values()
                     if level.module == kind)
    for name in names:
        if name not in available:
            raise ValueError(
                f"{key} names {name!r}, which the {adapter.owner} "
                f'({type(adapter.model).__name__}) does not have; accepted: '
                f"{', '.join(available)}.")
    return tuple(available[name] for name in names)


def frozen_levels(adapter: TaskAdapter, tap: PyramidTap) -> list[str]:
    """Names of the levels that no trainable weight of the model changes."""
    with (torch.enable_grad(), evaluating(*adapter.parts), tap.recording()):
        adapter.extract(adapter.probe.image(adapter.backbone))
    return [level.name for level, maps in zip(
        tap.levels, tap.take().levels, strict=True) if not maps.requires_grad]


@dataclass(frozen=True)
class StudentMaps:
    """The maps of a student's forward pass.

    Attributes:
        stages: the backbone's stage maps, finest first.
        levels: the maps (B, C_i, H_i, W_i) of the chosen levels.
        sources: the tensors that later layers of the student use: the maps
            themselves, or the tokens (B, H_i·W_i, C_i) of which they are views.
        logits: (B, K) or (B, K, h, w); None if its heads did not run or have
            none.
    """
    stages: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]
    logits: Tensor | None


class PyramidTap:
    """Reads the maps of a model's levels during its own forward pass.

    Args:
        adapter: of the model.
        levels: levels to read; without any, only the logits are read.
    """

    def __init__(self, adapter: TaskAdapter, levels: Sequence[Level]) -> None:
        self.levels = levels
        #: Maps by module and position.
        self._maps: dict[tuple[str, int], Tensor] = {}
        self._sources: dict[tuple[str, int], Tensor] = {}
        self._versions: dict[tuple[str, int], int] = {}
        self._logits: Tensor | None = None
        self._recording = False
        self._leaves = False
        # The hooks stay registered; recording() turns them on. The stages are
        # read even if no level is one: the state has the deepest map.
        for i, module in enumerate(adapter.stages.modules() if levels else ()):
            module.register_forward_hook(_Recorder(
                self, 'backbone', i, partial(adapter.stages.read, i)))
        if levels and adapter.neck is not None:
            adapter.neck.register_forward_hook(
                _Recorder(self, 'neck', 0, as_maps))
        if adapter.logit_layer is not None:
            adapter.logit_layer.register_forward_hook(_LogitRecorder(self))

    def record(self, name: str, first: int, inputs: tuple, output: Any,
               read: Callable[[Any, tuple], tuple[Tensor, ...]]) -> None:
        """Keep the maps of a module's output, numbered from ``first``."""
        if not self._recording:
            return
        tokens = as_tokens(output)
        originals = as_maps(output) if tokens is None else (tokens, )
        if self._leaves and any(level.module == name
                                for level in self.levels):
            for each in originals:
                if not each.requires_grad:  # from a frozen backbone
                    each.requires_grad_()
        maps = read(output, inputs)
        for i, each in enumerate(maps, first):
            self._maps[name, i] = each
            # Gradients are asked for at the tokens: a map is a new view of
            # them, which the student's later layers do not use.
            self._sources[name, i] = (
                originals[-1] if len(maps) == 1 else each)
            # Autograd counts in-place changes; take() compares.
            self._versions[name, i] = each._version

    def record_logits(self, output: Any) -> None:
        """Keep the logits."""
        if self._recording and isinstance(output, Tensor):
            self._logits = output

    @contextmanager
    def recording(self, leaves: bool = False) -> Iterator[None]:
        """Record the forward passes run inside this block.

        Args:
            leaves: let maps of a frozen module require a gradient, for rewards
                that need gradients at the maps.
        """
        self._maps.clear()
        self._logits = None
        self._recording = True
        self._leaves = leaves
        try:
            yield
        finally:
            self._recording = False

    def take(self) -> StudentMaps:
        """Return what was recorded, and keep no reference to it.

        Raises:
            RuntimeError: a later layer overwrote a level's map in place.
        """
        maps, self._maps = self._maps, {}
        sources, self._sources = self._sources, {}
        logits, self._logits = self._logits, None
        for level in self.levels:
            place = level.module, level.index
            if maps[place]._version != self._versions[place]:
                raise RuntimeError(
                    f'Level {level.name} of the student was overwritten in '
                    'place after it was computed; set inplace=False on the '
                    'activation that follows it.')
        return StudentMaps(
            tuple(maps[place] for place in sorted(maps)
                  if place[0] == 'backbone'),
            tuple(maps[level.module, level.index] for level in self.levels),
            tuple(sources[level.module, level.index]
                  for level in self.levels),
            logits)


class _Recorder:
    """A forward hook as an object: when EMA deep-copies the model, its copy
    refers to the copied tap, which a closure would not."""

    def __init__(self, tap: PyramidTap, name: str, first: int,
                 read: Callable[[Any, tuple], tuple[Tensor, ...]]) -> None:
        self.tap = tap
        self.name = name
        self.first = first
        self.read = read

    def __call__(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        self.tap.record(
            self.name, self.first, inputs, output, self.read)


class _LogitRecorder:
    """The same for the layer that puts out the logits."""

    def __init__(self, tap: PyramidTap) -> None:
        self.tap = tap

    def __call__(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        self.tap.record_logits(output)
