"""What a controller sees of an image: an early stage of the model's own run."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from mmrlkd.arguments import check_number, refuse
from mmrlkd.dynamic.libraries import Area, find_library
from mmrlkd.dynamic.patching import Patches
from mmrlkd.dynamic.settings import SettingSpace


@dataclass(frozen=True)
class EarlyMaps:
    """The first part of a model's run on B images.

    Attributes:
        pooled: (B, 3 C) what :func:`pool` makes of the stage's map of C channels.
        outputs: what each module of the backbone put out on the way, in the order
            of their calls; maps (B, ...).
    """
    pooled: Tensor
    outputs: tuple[tuple[str, Tensor], ...]

    def take(self, images: Tensor) -> 'EarlyMaps':
        """Those of some of the images (n,) int64."""
        images = images.to(self.pooled.device)
        return EarlyMaps(self.pooled[images], tuple(
            (name, output[images]) for name, output in self.outputs))


class _Reached(Exception):
    """The stage has put out its map."""


class StageFeature:
    """The image feature: a map of an early stage, pooled.

    The backbone runs up to the stage, on the image resized by ``scale``. Then a
    controller chooses a setting, and the model runs. Where the setting gives the
    model that same picture and does not change the stages that have run
    (:meth:`reusable`), the run continues from the stage (:meth:`reused`) and
    nothing is computed twice. Where it does not, what the feature cost is added
    to what the setting costs: the profile measures that cost, and a table's
    header lists the settings that continue.

    So ``scale=1.0`` costs nothing where most images run at full size, and with an
    input scale that is often lower a small ``scale`` costs little everywhere.

    Args:
        stage: name of a child of the model's backbone that is called once and
            puts out a map (B, C, h, w), such as ``'layer1'`` or ``'maxpool'``
            of a ResNet.
        scale: at which the stage sees the image, in (0, 1].
    """

    def __init__(self, stage: str = 'layer1', scale: float = 1.0) -> None:
        self.stage = stage
        self.scale = float(check_number(
            'budget.feature', 'scale', scale, 0, 1, open='low'))

    def describe(self) -> dict[str, Any]:
        """For a table's header: JSON-able."""
        return dict(stage=self.stage, scale=self.scale, pooling='mean, std, gradient')

    def bind(self, model: nn.Module) -> None:
        """Look up the stage in a model.

        Raises:
            ValueError: the backbone has no such child.
        """
        self.library = find_library(model)
        self.backbone = self.library.model.backbone
        children = dict(self.backbone.named_children())
        if self.stage not in children:
            refuse('budget.feature', 'stage', self.stage,
                   f'a child of the backbone: {", ".join(children)}')
        names = list(children)
        self._children = children
        #: Children that run before the stage, in the order of their definition.
        self._early = {module for name in names[:names.index(self.stage) + 1]
                       for module in children[name].modules()}
        #: Names of those that one calls after the other and nothing between, up to
        #: the stage; None before the first run, () if there is more to the run.
        self._chain: tuple[str, ...] | None = None
        self._reusable: dict[tuple[SettingSpace, int], bool] = {}

    def compute(self, inputs: Tensor, samples: list) -> EarlyMaps:
        """Run the backbone up to the stage; call it inside ``torch.no_grad()``.

        Args:
            inputs: (B, C, H, W), preprocessed.
            samples: B, whose meta data say what is padding; not changed.

        Raises:
            ValueError: the stage did not run, or put out something else than
                one map.
        """
        images, views = self.library.resized(inputs, samples, self.scale)
        outputs = self._run(images)
        areas = [self.library.area(view, images) for view in views]
        size = images.shape[-2], images.shape[-1]
        return EarlyMaps(pool(outputs[-1][1], areas, size), tuple(outputs))

    def _run(self, images: Tensor) -> list[tuple[str, Tensor]]:
        """What each module puts out, up to the stage.

        Hooks record it, in the first run. Where they see that each module is given
        what the one before put out, the modules are called without the backbone
        from then on: recording takes as long as running them, in a small model.
        """
        outputs: list[tuple[str, Tensor]] = []
        if self._chain:
            maps = images
            for name in self._chain:
                maps = self._children[name](maps)
                outputs.append((name, maps))
            return outputs
        inputs: list[Any] = []
        hooks = [child.register_forward_hook(self._record(name, inputs, outputs))
                 for name, child in self._children.items()]
        try:
            self.backbone(images)
        except _Reached:
            pass
        else:
            refuse('budget.feature', 'stage', self.stage,
                   'a module that the forward pass of the backbone calls')
        finally:
            for hook in hooks:
                hook.remove()
        if self._chain is None:
            before = [images, *(output for _, output in outputs)]
            chained = all(
                len(args) == 1 and args[0] is given
                for args, given in zip(inputs, before))
            self._chain = tuple(name for name, _ in outputs) if chained else ()
        return outputs

    def _record(self, name: str, inputs: list[Any],
                outputs: list[tuple[str, Tensor]]) -> Callable:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise ValueError(
                    f'budget.feature.stage={self.stage!r}: {name} of the backbone '
                    f'puts out a {type(output).__name__}; accepted: a stage '
                    'before which modules put out one map each.')
            inputs.append(args)
            outputs.append((name, output))
            if name == self.stage:
                if output.ndim != 4:
                    refuse('budget.feature', 'stage', self.stage, 'a module that '
                           f'puts out maps (B, C, h, w), not {output.ndim} axes')
                raise _Reached
        return hook

    def reusable(self, space: SettingSpace, setting: int) -> bool:
        """Whether the model's run in a setting can continue from the stage."""
        if (space, setting) not in self._reusable:
            self._reusable[space, setting] = (
                space.input_scale(setting) == self.scale and not any(
                    module in self._early
                    for knob, choice in zip(space.knobs, space.choices(setting))
                    for module in knob.changed_modules(choice)))
        return self._reusable[space, setting]

    def reused(self, early: EarlyMaps) -> AbstractContextManager[None]:
        """Inside this block, the model's run on the images of ``early`` begins
        after the stage: the modules before it give the outputs that they gave
        then."""
        replays: dict[str, _Replay] = {}
        for name, output in early.outputs:
            if name not in replays:
                replays[name] = _Replay(self._children[name].forward)
            replays[name].outputs.append(output)
        return Patches([(self._children[name], 'forward', replay)
                        for name, replay in replays.items()])


class _Replay:
    """``forward`` of a module that has run: gives its outputs again, in order.

    Args:
        forward: the module's own, for calls after those.

    Attributes:
        outputs: to give.
    """

    def __init__(self, forward: Any) -> None:
        self.outputs: list[Tensor] = []
        self.forward = forward

    def __call__(self, *args: Any) -> Any:
        return self.outputs.pop(0) if self.outputs else self.forward(*args)


def pool(maps: Tensor, areas: list[Area], size: tuple[int, int]) -> Tensor:
    """(B, 3 C): of each channel over the image, its mean, its standard deviation, and
    how much neighbouring pixels differ: the mean absolute difference along each
    side, summed. This tells much small structure from little large one.

    Args:
        maps: (B, C, h, w).
        areas: of the images in the input; the rest is padding.
        size: height and width of the input.
    """
    inside = None
    if any(each.size != size for each in areas):
        inside = _inside(maps, areas, size)
    mean = _mean(maps, inside)
    # Not torch.std_mean, which takes several times as long on a CPU.
    deviation = _mean((maps - mean).square_(), inside).sqrt_()
    differences = [_mean(_difference(maps, side).abs_(), inside if inside is None else
                         inside.narrow(side, 1, inside.shape[side] - 1))
                   for side in (2, 3)]
    return torch.cat([mean, deviation, torch.add(*differences)], dim=1).flatten(1)


def _difference(maps: Tensor, side: int) -> Tensor:
    """Of neighbouring pixels along a side."""
    pairs = maps.shape[side] - 1
    return maps.narrow(side, 1, pairs) - maps.narrow(side, 0, pairs)


def _inside(maps: Tensor, areas: list[Area], size: tuple[int, int]) -> Tensor:
    """(B, 1, h, w), 1 in the image and 0 in the padding."""
    height, width = maps.shape[-2:]
    rows = maps.new_tensor(
        [ceil(each.height / size[0] * height) for each in areas])
    columns = maps.new_tensor(
        [ceil(each.width / size[1] * width) for each in areas])
    grid = torch.arange(height, device=maps.device)[None] < rows[:, None]
    across = torch.arange(width, device=maps.device)[None] < columns[:, None]
    return (grid[:, None, :, None] & across[:, None, None, :]).to(maps.dtype)


def _mean(maps: Tensor, inside: Tensor | None) -> Tensor:
    """(B, C, 1, 1) over the pixels inside, or all; 0 of none."""
    if inside is not None:
        inside_sum = inside.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        return (maps * inside).sum(dim=(2, 3), keepdim=True) / inside_sum
    if not maps.numel():
        return maps.new_zeros(*maps.shape[:2], 1, 1)
    return maps.mean(dim=(2, 3), keepdim=True)
