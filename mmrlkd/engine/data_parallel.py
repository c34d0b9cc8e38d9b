"""Distributed data parallel training of a distiller."""

from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmrlkd.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class DistillDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper, with the distiller's own ``train_step``.

    mmengine's ``train_step`` calls the model with ``mode='loss'`` and steps the
    optimizer by itself. ``find_unused_parameters`` is on, because the connectors
    of levels that no image selected, and the frozen backbone of a phase, take no
    part in some iterations.

    Args:
        module: the :class:`~mmrlkd.distillation.PyramidDistiller`.
        device_ids: GPU of this process; ignored for a module on the CPU.
    """

    def __init__(self, module: nn.Module,
                 device_ids: list[int] | None = None,
                 broadcast_buffers: bool = False,
                 find_unused_parameters: bool = True, **kwargs: Any) -> None:
        # torch refuses device_ids for a model on the CPU.
        if next(module.parameters()).device == torch.device('cpu'):
            device_ids = None
        super().__init__(
            module, device_ids=device_ids,
            broadcast_buffers=broadcast_buffers,
            find_unused_parameters=find_unused_parameters, **kwargs)

    def train_step(self, data: Any,
                   optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One iteration of the distiller whose forward pass goes through this
        wrapper, so that DDP averages the gradients."""
        return self.module.run_step(self, data, optim_wrapper).scalars
