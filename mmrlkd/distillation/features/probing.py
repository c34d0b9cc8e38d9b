"""The image of noise on which models are run to find their levels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from mmrlkd.arguments import check_integer

#: Side of the square probe image: a multiple of all strides up to 128, with
#: maps of more than one position.
PROBE_SIZE = 256
#: Common sides of the images of networks with a fixed input size.
FIXED_SIZES = (224, 300, 384, 512)


@dataclass(frozen=True)
class Probe:
    """The probe image.

    Attributes:
        channels: number of channels.
        size: height and width in pixels.
    """
    channels: int = 3
    size: int = PROBE_SIZE

    def image(self, model: nn.Module) -> Tensor:
        """(1, channels, size, size), with dtype and device of the model's weights.

        The same noise at each call. With a constant image, different layers
        could put out equal maps.
        """
        noise = torch.randn(
            1, self.channels, self.size, self.size,
            generator=torch.Generator().manual_seed(0))
        return noise.to(next(model.parameters()))


class Probed(Protocol):
    """What :func:`find_probe` needs of a
    :class:`~mmrlkd.distillation.features.adapters.TaskAdapter`."""
    model: nn.Module
    owner: str

    @property
    def backbone(self) -> nn.Module:
        """Image -> features."""

    @property
    def parts(self) -> list[nn.Module]:
        """Modules that :meth:`extract` runs."""

    def extract(self, images: Tensor) -> None:
        """Compute the pyramid of ``images``."""


def find_probe(models: Sequence[Probed], size: int | None = None) -> Probe:
    """The first candidate on which all of ``models`` can be run.

    A network does not say how many channels its image has, nor whether its size
    is fixed. So candidates are tried. Channels: as many as the data preprocessor
    has means, or as the first convolution takes, or three. Sizes: 256 px, the
    network's ``img_size``, :data:`FIXED_SIZES`.

    Args:
        models: adapters of the models.
        size: ``model.probe_size`` of the config; None tries the candidates.

    Raises:
        ValueError: no candidate works.
    """
    if size is not None:
        check_integer('model', 'probe_size', size, 1)
    sizes = [size] if size is not None else list(dict.fromkeys([
        PROBE_SIZE, *(side for each in models for side in _own_size(each)),
        *FIXED_SIZES]))
    # The error names the first candidate, which is the likeliest.
    refused: tuple[Probed, Probe, Exception] | None = None
    for channels in _channels(models[0]):
        for side in sizes:
            probe = Probe(channels, side)
            refusal = _refusal(models, probe)
            if refusal is None:
                return probe
            refused = refused or (refusal[0], probe, refusal[1])
    assert refused is not None
    model, probe, error = refused
    reason = str(error).strip().partition('\n')[0]
    raise ValueError(
        f'{model.owner} ({type(model.model).__name__}) cannot be run on an '
        f'image of {probe.size} × {probe.size} px with {probe.channels} '
        f'channels, on the {next(model.model.parameters()).device} ({reason})'
        f'; tried: {", ".join(map(str, sizes))} px; accepted: in '
        'model.probe_size the height and width of the images that student '
        'and teacher are trained with.') from error


def _refusal(models: Sequence[Probed],
             probe: Probe) -> tuple[Probed, Exception] | None:
    """The first model that cannot be run on an image, and the error."""
    for each in models:
        try:
            with torch.no_grad(), evaluating(*each.parts):
                each.extract(probe.image(each.backbone))
        except (RuntimeError, AssertionError, ValueError) as error:
            return each, error
    return None


def _own_size(model: Probed) -> list[int]:
    size = getattr(model.backbone, 'img_size', None)
    side = size[0] if isinstance(size, Sequence) and size else size
    return [side] if isinstance(side, int) else []


def _channels(model: Probed) -> list[int]:
    """Candidates for the channels of a model's image, the likeliest first."""
    mean = getattr(
        getattr(model.model, 'data_preprocessor', None), 'mean', None)
    if isinstance(mean, Tensor) and mean.numel() > 1:
        return [mean.numel()]  # one mean for each channel
    first = next((layer.in_channels for layer in model.backbone.modules()
                  if isinstance(layer, nn.Conv2d)), 3)
    # YOLOX's Focus layer joins 4 neighbouring pixels: its first convolution
    # takes 12 channels of a 3-channel image.
    return list(dict.fromkeys([first, 3]))


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode; restore every submodule's mode on leaving."""
    # Of each submodule: frozen stages are in eval mode while the model trains.
    modes = [(m, m.training) for module in modules for m in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
