"""The levels that a model has, and reading them while it runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from .adapters import TaskAdapter
from .probing import PROBE_SIZE, blank_image, evaluating, on_a_blank_image
from .stages import as_maps, finest_first


@dataclass(frozen=True)
class Level:
    """One level of a model's pyramid.

    Attributes:
        name: ``P2``… for a neck's outputs, ``C2``… for a backbone's stages.
        module: ``'neck'`` or ``'backbone'``, whose map it is.
        index: position among the neck's outputs or the backbone's stages.
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


def _named(prefix: str, module: str, maps: Sequence[Tensor]) -> list[Level]:
    order = finest_first(maps)
    first = round(log2(PROBE_SIZE / maps[order[0]].shape[-2]))
    return [
        Level(f'{prefix}{number}', module, i, maps[i].shape[1],
              (maps[i].shape[-2], maps[i].shape[-1]))
        for number, i in enumerate(order, first)
    ]


def probe(adapter: TaskAdapter) -> dict[str, Level]:
    """Find a model's levels by running it on one blank image.

    A level is numbered by its stride, 2^k for ``Pk`` and ``Ck``, counted on
    from the finest map of the output, so that dilated backbones, whose stride
    stops growing, keep one name for each stage.

    Returns:
        Levels by name: the backbone's stages, then the neck's outputs.

    Raises:
        ValueError: the backbone or the neck shows no feature maps.
    """
    image = blank_image(adapter.backbone)
    with (torch.no_grad(), evaluating(*adapter.parts),
          on_a_blank_image(adapter.owner, adapter.model)):
        output, stages = adapter.stages.run(image)
        levels = _named('C', 'backbone', stages)
        if adapter.neck is not None:
            maps = as_maps(adapter.neck(output))
            if not maps:
                raise ValueError(
                    f'{adapter.owner} has a neck '
                    f'({type(adapter.neck).__name__}) that puts out no '
                    'feature maps; accepted: a neck whose outputs are maps '
                    '(B, C, h, w).')
            levels += _named('P', 'neck', maps)
    return {level.name: level for level in levels}


def check_level_names(levels: Sequence[str],
                      key: str = 'levels') -> tuple[str, ...]:
    """The levels a config names, in order and each once.

    Args:
        levels: what the config has.
        key: where, for the message.

    Raises:
        ValueError: none, a name that is no level's, or another order.
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
    """Look up the levels a config names.

    Args:
        adapter: of the model that should have them.
        names: level names, finest first; None for all outputs of the neck,
            or, without one, all stages of the backbone.
        key: the config key they come from, for the message.

    Raises:
        ValueError: the model lacks a level.
    """
    available = probe(adapter)
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


@dataclass(frozen=True)
class StudentMaps:
    """What a student's forward pass showed.

    Attributes:
        stages: the backbone's stage maps, finest first.
        levels: the maps (B, C_i, H_i, W_i) of the chosen levels.
        sources: what the student's graph goes on from: the maps themselves,
            or the tokens (B, H_i·W_i, C_i) that they are a view of.
        logits: (B, K) or (B, K, h, w), if its heads ran and have any.
    """
    stages: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]
    logits: Tensor | None


class PyramidTap:
    """Reads the maps of a model's levels during its own forward pass.

    Args:
        adapter: of the model to read.
        levels: levels to read; with none, only the logits are.
    """

    def __init__(self, adapter: TaskAdapter, levels: Sequence[Level]) -> None:
        self._levels = levels
        #: Maps by module and position.
        self._maps: dict[tuple[str, int], Tensor] = {}
        self._sources: dict[tuple[str, int], Tensor] = {}
        self._versions: dict[tuple[str, int], int] = {}
        self._logits: Tensor | None = None
        self._recording = False
        self._leaves = False
        for i, module in enumerate(adapter.stages.modules() if levels else ()):
            module.register_forward_hook(
                _Recorder(self, 'backbone', i, adapter.stages.read))
        if levels and adapter.neck is not None:
            adapter.neck.register_forward_hook(
                _Recorder(self, 'neck', 0, as_maps))
        if adapter.logit_layer is not None:
            adapter.logit_layer.register_forward_hook(_LogitRecorder(self))

    def record(self, name: str, first: int, output: Any,
               read: Callable[[Any], tuple[Tensor, ...]]) -> None:
        """Keep a module's maps, numbered from ``first``, while recording."""
        if not self._recording:
            return
        tokens = _tokens(output)
        if self._leaves and any(level.module == name
                                for level in self._levels):
            for each in read(output) if tokens is None else (tokens, ):
                if not each.requires_grad:  # of a frozen backbone
                    each.requires_grad_()
        for i, each in enumerate(read(output), first):
            self._maps[name, i] = each
            self._sources[name, i] = each if tokens is None else tokens
            self._versions[name, i] = each._version

    def record_logits(self, output: Any) -> None:
        """Keep the logits, while recording."""
        if self._recording and isinstance(output, Tensor):
            self._logits = output

    @contextmanager
    def recording(self, leaves: bool = False) -> Iterator[None]:
        """Record the forward passes run inside this block.

        Args:
            leaves: make the maps differentiable even where a frozen module
                gave them, for a reward that asks for gradients at them.
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
        """Hand over what was recorded and forget it.

        Raises:
            RuntimeError: a later layer overwrote a map in place, so that it
                no longer holds the level.
        """
        maps, self._maps = self._maps, {}
        sources, self._sources = self._sources, {}
        logits, self._logits = self._logits, None
        for level in self._levels:
            place = level.module, level.index
            if maps[place]._version != self._versions[place]:
                raise RuntimeError(
                    f'Level {level.name} of the student was overwritten in '
                    'place after it was computed; set inplace=False on the '
                    'activation that follows it.')
        return StudentMaps(
            tuple(maps[place] for place in sorted(maps)
                  if place[0] == 'backbone'),
            tuple(maps[level.module, level.index] for level in self._levels),
            tuple(sources[level.module, level.index]
                  for level in self._levels),
            logits)


def _tokens(output: Any) -> Tensor | None:
    """The tokens of an output that :func:`.stages.as_maps` makes a map of."""
    if isinstance(output, Sequence) and isinstance(output[0], Tensor) and (
            output[0].ndim == 3):
        return output[0]
    return None


class _Recorder:
    """A forward hook that survives deep copies (a closure would not)."""

    def __init__(self, tap: PyramidTap, name: str, first: int,
                 read: Callable[[Any], tuple[Tensor, ...]]) -> None:
        self.tap = tap
        self.name = name
        self.first = first
        self.read = read

    def __call__(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        self.tap.record(self.name, self.first, output, self.read)


class _LogitRecorder:
    """Likewise, of the layer that puts out the logits."""

    def __init__(self, tap: PyramidTap) -> None:
        self.tap = tap

    def __call__(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        self.tap.record_logits(output)
