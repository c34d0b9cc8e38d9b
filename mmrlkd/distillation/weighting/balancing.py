"""Weighing the levels' losses by their gradients at one shared layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine import dist
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmrlkd.arguments import check_bool, check_integer
from mmrlkd.distillation.features.adapters import TaskAdapter
from mmrlkd.distillation.features.levels import Level
from mmrlkd.distillation.teacher.shared_layer import find_shared_layer
from mmrlkd.distillation.weighting.balancers import Balancer
from mmrlkd.registry import BALANCERS

#: What the task's loss is called beside the levels.
TASK = 'task'


@dataclass(frozen=True)
class LevelTerms:
    """What the levels add to a batch's loss, before they are balanced.

    Attributes:
        terms: L 0-dim losses with their graphs, apart from one another.
        shares: (L,), what an image gives each level of its weight, mean over
            the batch; sums to 1.
        active: for each level, whether any image selected it.
    """
    terms: list[Tensor]
    shares: Tensor
    active: list[bool]


@dataclass(frozen=True)
class Measured:
    """What a batch showed at the shared layer, on all ranks together.

    Attributes:
        rows: (L + 1, D), gradient of each level's term and of the task; the
            last is 0 where it is not asked for.
        losses: (L + 1,), their values.
        shares: (L,), as in :class:`LevelTerms`.
        active: (L + 1,) bool.
    """
    rows: Tensor
    losses: Tensor
    shares: Tensor
    active: Tensor


class Balancing:
    """Turns the levels' terms into one loss for one ordinary backward pass.

    The gradient of each active level's term by a shared layer W is taken by
    itself; from these rows the balancer makes weights, which are constants to
    the backward pass that follows. So gradient clipping, accumulation, mixed
    precision and DDP see a loss like any other.

    A balancer that remembers, such as GradNorm, is shown each level as if
    every image had selected all levels alike: how many images select a level
    is the selector's decision and must not be undone. One that does not, such
    as PCGrad, combines the very gradients of this batch and is shown those.

    Under mixed precision the scaled losses are differentiated, as the
    backward pass does. All ranks see the mean of their rows and losses and
    use the weights of rank 0.

    Args:
        balancer: config of the :class:`Balancer`, and beside
            its own arguments: ``layer``, path in the student of the layer that
            is W (by default the last that all levels reach, see
            :func:`.shared_layer.find_shared_layer`); ``include_task``, whether
            the task's loss is weighed, too; ``report_every``, log gradients
            every so many iterations, 0 for never.
        student: adapter of the student.
        levels: its levels.

    Attributes:
        layer: path of W; None where a balancer looks at everything.
    """

    def __init__(self, balancer: dict, student: TaskAdapter,
                 levels: Sequence[Level]) -> None:
        own = dict(balancer)
        path = own.pop('layer', None)
        self._include_task = check_bool(
            'balancer', 'include_task', own.pop('include_task', False))
        self._report_every = check_integer(
            'balancer', 'report_every', own.pop('report_every', 0), 0)
        self.balancer: Balancer = BALANCERS.build(own)
        self._levels = [level.name for level in levels]
        self._names = self._levels + [TASK] * self._include_task
        self.balancer.bind(self._names)
        self.balancer.to(next(student.model.parameters()).device)
        self.layer = None
        self._shared: list[nn.Module] = []
        if self.balancer.everywhere:
            if path is not None:
                raise ValueError(
                    f'balancer.layer={path!r}, but this '
                    f'{type(self.balancer).__name__} looks at all parameters; '
                    'accepted: a layer or exact=True, not both.')
            self._shared = student.parts
        elif self.balancer.needs_gradients or self._report_every or path is not None:
            self.layer = find_shared_layer(student, levels, path)
            self._shared = [student.model.get_submodule(self.layer)]
        self._iterations = 0

    def combine(self, levels: LevelTerms, task: Tensor,
                optim_wrapper: OptimWrapper, update: bool
                ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What to minimise.

        Args:
            levels: of the batch.
            task: 0-dim, the task's loss, with its graph.
            optim_wrapper: for the scale of its losses.
            update: whether the balancer may learn from this batch.

        Returns:
            ``loss_distill`` in place of the plain sum of the terms; and where
            the task is weighed, too, ``loss_task_balance``, what that adds to
            the task's losses, which stay as they are. And scalars for the
            log.
        """
        weights = self.balancer.fallback()
        due = (update and self._report_every > 0
               and self._iterations % self._report_every == 0)
        self._iterations += update
        gradients = {}
        if due or (update and self.balancer.needs_gradients):
            measured = self._measure(
                levels, task if due or self._include_task else None,
                optim_wrapper)
            if self.balancer.needs_gradients:
                weights = self._weigh(measured)
            if due:
                gradients = self._describe(measured)
        scalars = gradients | {
            f'balance.{name}': weight
            for name, weight in zip(self._names, weights, strict=True)}
        scalars['balance.skipped'] = self.balancer.skipped.float()
        n = len(levels.terms)
        losses = {'loss_distill': (
            weights[:n] * torch.stack(levels.terms)).sum()}
        if self._include_task:
            losses['loss_task_balance'] = (weights[n] - 1) * task
        return losses, scalars

    def _weigh(self, measured: Measured) -> Tensor:
        rows, losses = measured.rows, measured.losses
        n = len(measured.shares)
        # What a level's term would be with the share of an even selection.
        even = 1 / (n * measured.shares).clamp_min(
            torch.finfo(losses.dtype).tiny)
        even = even.where(measured.active[:n], 1)
        losses = torch.cat([losses[:n] * even, losses[n:]])
        if self.balancer.stateful:
            rows = torch.cat([rows[:n] * even[:, None], rows[n:]])
        n = len(self._names)
        weights = self.balancer.weigh(
            rows[:n], losses[:n], measured.active[:n])
        # The ranks agree but for what they drew.
        for tensor in (weights, *self.balancer.buffers()):
            dist.broadcast(tensor)
        return weights

    def _measure(self, levels: LevelTerms, task: Tensor | None,
                 optim_wrapper: OptimWrapper) -> Measured:
        """Differentiate by W, and share the result among the ranks."""
        parameters = [p for module in self._shared
                      for p in self._weights_of(module) if p.requires_grad]
        size = sum(p.numel() for p in parameters)
        losses = [term if active else None for term, active in zip(
            levels.terms, levels.active, strict=True)] + [task]
        # Each row, then what else the ranks share: the loss, the level's
        # share, and whether there is a row.
        shared = levels.shares.new_zeros(len(losses), size + 3)
        scaler = getattr(optim_wrapper, 'loss_scaler', None)
        for row, loss in zip(shared, losses, strict=True):
            if loss is None:
                continue
            gradients = torch.autograd.grad(
                loss if scaler is None else scaler.scale(loss), parameters,
                retain_graph=True, allow_unused=True, materialize_grads=True)
            row[:size] = torch.cat([g.flatten().float() for g in gradients])
            row[size] = loss.detach()
            row[size + 2] = 1
        n = len(levels.terms)
        shared[:n, size + 1] = levels.shares
        if scaler is not None:
            shared[:, :size] /= scaler.scale(shared.new_ones(()))
        dist.all_reduce(shared, 'mean')
        return Measured(
            rows=shared[:, :size], losses=shared[:, size],
            shares=shared[:n, size + 1], active=shared[:, size + 2] > 0)

    def _weights_of(self, module: nn.Module) -> list[nn.Parameter]:
        """W, or all parameters."""
        return (list(module.parameters()) if self.balancer.everywhere else
                [module.weight])

    @torch.no_grad()
    def _describe(self, measured: Measured) -> dict[str, Tensor]:
        """The gradients of the levels in this batch, beside the task's."""
        norms = measured.rows.norm(dim=1)
        task = measured.rows[-1]
        cosines = measured.rows @ task / (norms * norms[-1]).clamp_min(
            torch.finfo(norms.dtype).tiny)
        report = {f'gradient_norm.{TASK}': norms[-1]}
        # Levels nobody selected are left out; this waits for the device.
        there = zip(self._levels, measured.active.tolist(), strict=False)
        for i, (name, active) in enumerate(there):
            if active:
                report[f'gradient_norm.{name}'] = norms[i]
                report[f'gradient_cosine.{name}'] = cosines[i]
        return report

    def state_dict(self) -> dict:
        """What a resumed run needs; equal on all ranks."""
        return dict(balancer=self.balancer.state_dict(),
                    iterations=self._iterations)

    def load_state_dict(self, state: dict) -> None:
        """Continue from :meth:`state_dict`, bit for bit."""
        self.balancer.load_state_dict(state['balancer'])
        self._iterations = state['iterations']
