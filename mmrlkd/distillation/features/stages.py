"""The stages of a backbone: which they are, and reading their maps.

A stage is what the backbone's own library counts as one. Where the backbone
puts out several maps, they are its stages. Otherwise the module that ends each
stage is found by :mod:`.stage_ends`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .maps import (
    FIRST_NUMBER,
    as_maps,
    forward_hooks,
    name_maps,
    number_levels,
    token_sizes,
)
from .probing import Probe, evaluating
from .stage_ends import (
    Call,
    candidates,
    count_stages,
    find_ends,
    parameter_share,
    record_calls,
)

#: Share of a backbone's parameters that may run, unseen, after its last stage.
UNSEEN_SHARE = 0.25


class Stages:
    """The stages of a backbone, found by one forward pass, and their maps in
    later forward passes, finest first.

    Args:
        backbone: image (B, C, H, W) -> feature maps.
        owner: the model that it belongs to, for messages.
        probe: the image that it is run on.
        search: whether to look inside a backbone that puts out one map only.
            Not if a neck follows: it gets what the backbone puts out.

    Attributes:
        paths: for each map, the path in the backbone of the module that puts
            it out; None where only the backbone itself does.
        numbers: for each map, the k of ``Ck``; None if it has no number.
        shapes: for each map, its (C, h, w) for the probe.
        inside: paths of the modules that are hooked; empty if the maps are read
            from the backbone's output.

    Raises:
        ValueError: no stages were found.
    """

    def __init__(self, backbone: nn.Module, owner: str, probe: Probe,
                 search: bool) -> None:
        self.backbone = backbone
        self.paths: tuple[str | None, ...] = ()
        self.numbers: tuple[int | None, ...] = ()
        self.shapes: tuple[tuple[int, int, int], ...] = ()
        self.inside: tuple[str, ...] = ()
        self._who = f'{owner} has a backbone ({type(backbone).__name__})'
        #: Of :attr:`inside`, modules whose map a later layer overwrites in
        #: place, so that it must be copied when it is read.
        self._overwritten: frozenset[str] = frozenset()
        image = probe.image(backbone)
        seen: list[Call] = []
        with (torch.no_grad(), evaluating(backbone),
              forward_hooks(backbone, candidates(backbone),
                            lambda name: record_calls(name, seen))):
            output = as_maps(backbone(image))
        if search and len(output) < 2:
            self._find_inside(
                find_ends(backbone, seen, output, probe.size), seen)
        if not self.inside:
            if not output:
                raise ValueError(
                    f'{self._who} without stages: none of its layers shows '
                    'maps of several resolutions (a stem aside); accepted: '
                    'backbones with stages, such as ResNet or Swin.')
            self._read_output(image, seen)
        if not self.numbers:
            self._number_by_stride(probe)

    # -- finding the stages ----------------------------------------------------

    def _find_inside(self, ends: Sequence[Call],
                     seen: Sequence[Call]) -> None:
        if len(ends) < 2:
            return
        # Layers that put out neither maps nor (B, K), such as a transformer's
        # on tokens without their (h, w), may hold further stages.
        last = max(seen.index(end) for end in ends)
        unseen = {each.name for each in seen[last + 1:]
                  if each.maps is None and not each.flat}
        if parameter_share(self.backbone, unseen) > UNSEEN_SHARE:
            raise ValueError(
                f'{self._who} most of whose layers show no maps, so that its '
                'stages cannot be found; accepted: backbones with stages, such '
                'as ResNet or Swin.')
        self.inside = tuple(end.name for end in ends)
        self.paths = self.inside
        self.shapes = tuple(
            _shape(end.maps) for end in ends if end.maps is not None)
        self._overwritten = frozenset(
            end.name for end in ends
            if end.maps is not None and end.maps._version != end.version)
        if len(ends) == count_stages(self.backbone):
            self.numbers = tuple(range(FIRST_NUMBER, FIRST_NUMBER + len(ends)))

    def _read_output(self, image: Tensor, seen: Sequence[Call]) -> None:
        with torch.no_grad(), evaluating(self.backbone):
            output, paths = name_maps(self.backbone, image)
        # Maps of one size are ordered by when their modules ran.
        names = [each.name for each in seen]
        ran = [names.index(path) if path in names else -1 for path in paths]
        self._order = sorted(
            range(len(output)),
            key=lambda i: (-output[i].shape[-2:].numel(), ran[i]))
        self.paths = tuple(paths[i] for i in self._order)
        self.shapes = tuple(_shape(output[i]) for i in self._order)
        indices = getattr(self.backbone, 'out_indices', None)
        if (isinstance(indices, Sequence) and len(indices) == len(output)
                and set(indices) <= set(
                    range(count_stages(self.backbone) or 0))):
            # The libraries put maps out in the order of the stages, whatever
            # the order of out_indices.
            positions = sorted(indices)
            self.numbers = tuple(
                FIRST_NUMBER + positions[i] for i in self._order)

    def _number_by_stride(self, probe: Probe) -> None:
        self.numbers = tuple(number_levels(
            [probe.size / height for _, height, _ in self.shapes], self._who))

    # -- reading their maps ----------------------------------------------------

    def read(self, i: int, output: Any,
             inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The maps that :meth:`modules`\\ ``[i]`` put out, finest first."""
        if not self.inside:
            maps = as_maps(output)
            return tuple(maps[j] for j in self._order)
        maps = as_maps(output, token_sizes(
            self.backbone.get_submodule(self.inside[i]), inputs))
        copy = self.inside[i] in self._overwritten
        return (maps[-1].clone() if copy else maps[-1], )

    def modules(self) -> list[nn.Module]:
        """The modules to hook: the last of each stage, or the backbone."""
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

        with forward_hooks(self.backbone, self.inside, keep):
            output = self.backbone(images)
        return output, tuple(stages[name] for name in self.inside)


def _shape(maps: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = maps.shape
    return channels, height, width
