"""Distributed data parallel training of a distiller."""

from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmrlkd.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class DistillDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper, which bypasses a model's ``train_step``, mended.

    Levels that no sample selected and the frozen backbone of a phase take no
    part in some iterations, so unused parameters are looked for.

    Args:
        module: the :class:`~mmrlkd.distillation.PyramidDistiller`.
        device_ids: GPU of this process; ignored for a module on the CPU.
    """

    def __init__(self, module: nn.Module,
                 device_ids: list[int] | None = None,
                 broadcast_buffers: bool = False,
                 find_unused_parameters: bool = True, **kwargs: Any) -> None:
        if next(module.parameters()).device == torch.device('cpu'):
            device_ids = None
        super().__init__(
            module, device_ids=device_ids,
            broadcast_buffers=broadcast_buffers,
            find_unused_parameters=find_unused_parameters, **kwargs)

    def train_step(self, data: Any,
                   optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One synchronised iteration of the distiller: its forward pass runs
        in this wrapper's, which gets the plan and returns the output."""
        return self.module.run_step(self, data, optim_wrapper).scalars
