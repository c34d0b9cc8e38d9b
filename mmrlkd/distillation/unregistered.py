"""Keeping a submodule out of a model's parameters and state dict."""

from torch import nn


class UnregisteredModule:
    """A reference to a module that nn.Module does not register.

    The module is not among the owner's parameters (so not in the optimizer, DDP
    or EMA) nor in its state dict, and deep copies of the owner (EMA copies the
    whole model) share it. The owner must forward ``_apply``, by which
    ``.to(device)`` moves modules.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __deepcopy__(self, memo: dict) -> 'UnregisteredModule':
        return self
