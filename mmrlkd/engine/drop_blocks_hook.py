"""Stochastic depth as a hook."""

from contextlib import ExitStack

import numpy as np
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmrlkd.arguments import check_number, refuse
from mmrlkd.dynamic.drop_blocks import StochasticDepth
from mmrlkd.registry import HOOKS

from .seeding import BLOCKS


@HOOKS.register_module()
class DropBlocksHook(Hook):
    """Trains a network that bears skipped blocks; see
    :class:`~mmrlkd.dynamic.drop_blocks.StochasticDepth`.

    Which blocks an iteration drops depends on the run's seed and the iteration
    alone, so that a resumed run drops the same. It does not depend on the rank:
    batch normalisation that is synchronised waits in each block for all ranks.
    Nothing but a training iteration is changed: no weight, no key of the
    ``state_dict``, no validation. A rate of 0 trains as without the hook.

    Args:
        rate: probability with which the last block is dropped, in [0, 1).
        backbone: path of the ResNet in the model; ``'student.backbone'`` in a
            distiller.
    """

    def __init__(self, rate: float, backbone: str = 'backbone') -> None:
        check_number('DropBlocksHook', 'rate', rate, 0, 1, open='high')
        self.rate = rate
        self.backbone = backbone
        self._iteration = ExitStack()

    def before_train(self, runner: Runner) -> None:
        """Find the blocks.

        Raises:
            ValueError: there is no ResNet at the path, or DDP would wait for the
                gradients of dropped blocks.
        """
        model = runner.model
        if is_model_wrapper(model):
            if not getattr(model, 'find_unused_parameters', True):
                refuse('DropBlocksHook', 'find_unused_parameters', False,
                       'find_unused_parameters=True in the config, because '
                       'dropped blocks have no gradient')
            model = model.module
        try:
            backbone = model.get_submodule(self.backbone)
        except AttributeError:
            refuse('DropBlocksHook', 'backbone', self.backbone,
                   f'the path of a module of the {type(model).__name__}, which '
                   'has ' + ', '.join(name for name, _ in model.named_children()))
        self._depth = StochasticDepth(backbone, self.rate)

    def before_train_iter(self, runner: Runner, batch_idx: int,
                          data_batch: object = None) -> None:
        numbers = np.random.default_rng([runner.seed, BLOCKS, runner.iter])
        self._iteration.enter_context(self._depth.drop(
            numbers.random(len(self._depth.rates)).tolist()))

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: object = None,
                         outputs: object = None) -> None:
        self._iteration.close()
