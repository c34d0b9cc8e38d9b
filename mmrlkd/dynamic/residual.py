"""The residual blocks of ResNet-like backbones."""

import sys
from collections.abc import Iterator
from importlib import import_module

from torch import nn

#: Where each library keeps ResNet and its two kinds of blocks.
_MODULES = {
    'mmdet': 'mmdet.models.backbones.resnet',
    'mmseg': 'mmseg.models.backbones.resnet',
    'mmpretrain': 'mmpretrain.models.backbones.resnet',
}


def residual_stages(backbone: nn.Module) -> list[list[nn.Module]] | None:
    """The blocks of each stage of a backbone, in the order they run.

    Args:
        backbone: a ResNet of mmdet, mmseg or mmpretrain, or a subclass of it,
            such as ResNetV1c, ResNeXt, RegNet and SEResNet.

    Returns:
        For each stage its blocks; None if the backbone is another network.
    """
    for module in _libraries():
        if isinstance(backbone, module.ResNet):
            stages = [list(getattr(backbone, name).children())
                      for name in backbone.res_layers]
            blocks = (module.BasicBlock, module.Bottleneck)
            if all(isinstance(each, blocks) for stage in stages
                   for each in stage):
                return stages
    return None


def keeps_shape(block: nn.Module) -> bool:
    """Whether a residual block's output has the shape of its input, so that it
    can be skipped."""
    # A ResNet projects the shortcut wherever stride or width changes.
    return block.downsample is None


def _libraries() -> Iterator:
    """The modules of the libraries that have been imported."""
    for library, module in _MODULES.items():
        if library in sys.modules:
            yield import_module(module)
