"""Skipping updates whose loss or gradient is not finite."""

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn

from mmrlkd.arguments import check_integer


class FiniteCheck:
    """Updates a model, unless the loss or a gradient is not finite.

    A skipped update leaves parameters, optimizer state and the statistics of
    normalisation layers as they were. With mixed precision the gradients are
    left to torch's grad scaler, which skips steps with overflow and then lowers
    its scale; such a step counts as skipped, too. All ranks skip together.

    Args:
        model: its statistics are restored.
        limit: number of skipped updates in a row that stops the run.
    """

    def __init__(self, model: nn.Module, limit: int) -> None:
        self._model = model
        self._limit = check_integer('model', 'max_skipped_updates', limit, 1)
        self.skipped = 0
        self.in_a_row = 0

    def _statistics(self) -> list[Tensor]:
        """The buffers of normalisation layers in training mode.

        Looked up each time, because moving a model replaces its buffers, and
        ``sync_bn`` its layers. By ``running_mean``, because mmcv's SyncBN is not
        a subclass of torch's ``_NormBase``.
        """
        return [buffer for module in self._model.modules()
                if module.training and hasattr(module, 'running_mean')
                for buffer in module.buffers(recurse=False)]

    def statistics(self) -> list[Tensor]:
        """A copy of the statistics, to be taken before the forward pass."""
        return [buffer.clone() for buffer in self._statistics()]

    def restore(self, statistics: list[Tensor]) -> None:
        """Restore the statistics of :meth:`statistics`."""
        for buffer, saved in zip(self._statistics(), statistics, strict=True):
            buffer.copy_(saved)

    def update(self, optim_wrapper: OptimWrapper, loss: Tensor,
               statistics: list[Tensor]) -> None:
        """``optim_wrapper.update_params(loss)``, if loss and gradients are finite.

        Waits for the device once, because the host decides whether to step.

        Args:
            optim_wrapper: of the model.
            loss: 0-dim, with its graph.
            statistics: :meth:`statistics` of before the forward pass.

        Raises:
            FloatingPointError: too many updates in a row were skipped.
        """
        scaled = optim_wrapper.scale_loss(loss)
        optim_wrapper.backward(scaled)
        finite = self._agree(self._finite(optim_wrapper, loss))
        if finite and optim_wrapper.should_update():
            finite = self._step(optim_wrapper)
        if finite:
            self.in_a_row = 0
        else:
            self._skip(optim_wrapper, statistics)

    @staticmethod
    def _step(optim_wrapper: OptimWrapper) -> bool:
        """Step; returns False if a grad scaler skipped the step."""
        # Only the lower scale shows that: GradScaler.step returns None.
        scaler = getattr(optim_wrapper, 'loss_scaler', None)
        before = scaler.get_scale() if scaler is not None else 0.0
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        return scaler is None or scaler.get_scale() >= before

    @staticmethod
    def _finite(optim_wrapper: OptimWrapper, loss: Tensor) -> Tensor:
        finite = torch.isfinite(loss.detach())
        # The gradients are still scaled here and may overflow as usual.
        if isinstance(optim_wrapper, AmpOptimWrapper):
            return finite
        gradients = [
            p.grad for group in optim_wrapper.param_groups
            for p in group['params'] if p.grad is not None
        ]
        if gradients:
            norm = torch.nn.utils.get_total_norm(gradients)
            finite = finite & torch.isfinite(norm)
        return finite

    @staticmethod
    def _agree(finite: Tensor) -> bool:
        # If one rank stepped and another did not, their weights would differ from
        # then on.
        flag = finite.float()
        all_reduce(flag, 'min')
        return bool(flag)

    def _skip(self, optim_wrapper: OptimWrapper,
              statistics: list[Tensor]) -> None:
        # With accumulated gradients this also drops those of earlier iterations.
        optim_wrapper.zero_grad()
        self.restore(statistics)
        self.skipped += 1
        self.in_a_row += 1
        print_log(
            'The loss or a gradient is not finite: the student is not '
            f'updated ({self.skipped} skipped so far, {self.in_a_row} in a '
            'row).', logger='current', level=30)
        if self.in_a_row >= self._limit:
            raise FloatingPointError(
                f'{self.in_a_row} updates in a row had a non-finite loss or '
                f'gradient (max_skipped_updates={self._limit}); lower the '
                'learning rate or loss_weight, clip gradients '
                '(optim_wrapper.clip_grad), or look at the data of the last '
                'iterations.')
