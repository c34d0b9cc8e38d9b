"""Keeping a module of a model out of its parameters and its state dict."""

from torch import nn


class UnregisteredModule:
    """Holds a module that must stay out of its owner's ``_modules``.

    It is not in the owner's parameters (so not in the optimizer, DDP or EMA),
    not in its state dict, and is shared, not copied, when the owner is
    deep-copied (EMA copies the whole model). The owner forwards ``_apply`` by
    hand, so that ``.to(device)`` still reaches it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __deepcopy__(self, memo: dict) -> 'UnregisteredModule':
        return self
