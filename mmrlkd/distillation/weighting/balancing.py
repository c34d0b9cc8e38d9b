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

#: Name of the task's loss beside the names of the levels.
TASK = 'task'


@dataclass(frozen=True)
class LevelTerms:
    """The levels' terms of a batch's loss, before they are balanced.

    Attributes:
        terms: L 0-dim losses, each with its own graph.
        shares: (L,), mean over the batch of the weights that images give the
            levels.
        active: for each level, whether any image selected it.
    """
    terms: list[Tensor]
    shares: Tensor
    active: list[bool]


@dataclass(frozen=True)
class Measured:
    """Gradients of a batch at the shared layer, averaged over the ranks.

    Attributes:
        rows: (L + 1, D), gradients of the levels' terms and of the task's loss;
            the last is 0 if it was not measured.
        losses: (L + 1,), their values.
        shares: (L,), as in :class:`LevelTerms`.
        active: (L + 1,) bool.
    """
    rows: Tensor
    losses: Tensor
    shares: Tensor
    active: Tensor


class Balancing:
    """Combines the levels' terms into one loss for an ordinary backward pass.

    The gradient of each active level's term by the weight W of a shared layer is
    computed separately. From these rows the balancer computes weights, which are
    constants in the backward pass that follows. So gradient clipping,
    accumulation, mixed precision and DDP work as with any other loss.

    A stateful balancer, such as GradNorm, gets the gradients that a level would
    have if every image had selected all levels: otherwise it would compensate
    for how often a level is selected, which is the selector's decision. A
    stateless one, such as PCGrad, combines the gradients of this batch and gets
    them as they are.

    Under mixed precision the scaled losses are differentiated, as in the
    backward pass. All ranks use the mean of their rows and losses, and the
    weights of rank 0.

    Args:
        balancer: config of the :class:`Balancer`. Besides its own arguments it
            has ``layer``, path in the student of the layer of W (by default the
            last that all levels reach, see
            :func:`.shared_layer.find_shared_layer`); ``include_task``, whether
            the task's loss is weighed, too; ``report_every``, log gradients
            every n iterations, 0 for never.
        student: adapter of the student.
        levels: its levels.

    Attributes:
        layer: path of W; None if the balancer uses all parameters or no
            gradients.
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
                    f'{type(self.balancer).__name__} uses all parameters; '
                    'accepted: a layer or exact=True, not both.')
            self._shared = student.parts
        elif self.balancer.needs_gradients or self._report_every or path is not None:
            self.layer = find_shared_layer(student, levels, path)
            self._shared = [student.model.get_submodule(self.layer)]
        self._iterations = 0

    def combine(self, levels: LevelTerms, task: Tensor,
                optim_wrapper: OptimWrapper, update: bool
                ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The losses to minimise.

        Args:
            levels: of the batch.
            task: 0-dim, the task's loss, with its graph.
            optim_wrapper: its loss scaler is used, if it has one.
            update: whether this batch changes the balancer's weights.

        Returns:
            ``loss_distill``, which replaces the plain sum of the terms; if the
            task is weighed, too, also ``loss_task_balance``, the difference
            between its weighed and its plain loss. And scalars for the log.
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
        # Ratio of the level's share in an even selection, 1/n, to its share in
        # this batch.
        even = 1 / (n * measured.shares).clamp_min(
            torch.finfo(losses.dtype).tiny)
        even = even.where(measured.active[:n], 1)
        losses = torch.cat([losses[:n] * even, losses[n:]])
        if self.balancer.stateful:
            rows = torch.cat([rows[:n] * even[:, None], rows[n:]])
        n = len(self._names)
        weights = self.balancer.weigh(
            rows[:n], losses[:n], measured.active[:n])
        # PCGrad draws random orders, which differ from rank to rank.
        for tensor in (weights, *self.balancer.buffers()):
            dist.broadcast(tensor)
        return weights

    def _measure(self, levels: LevelTerms, task: Tensor | None,
                 optim_wrapper: OptimWrapper) -> Measured:
        """Compute the rows and average them over the ranks."""
        parameters = [p for module in self._shared
                      for p in self._weights_of(module) if p.requires_grad]
        size = sum(p.numel() for p in parameters)
        losses = [term if active else None for term, active in zip(
            levels.terms, levels.active, strict=True)] + [task]
        # Everything that is averaged, for one all_reduce: in each row the
        # gradient, the loss, the level's share, and 1 if the row was computed.
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
        """W, or all parameters of ``module``."""
        return (list(module.parameters()) if self.balancer.everywhere else
                [module.weight])

    @torch.no_grad()
    def _describe(self, measured: Measured) -> dict[str, Tensor]:
        """Norms of the rows, and the levels' cosines with the task's row."""
        norms = measured.rows.norm(dim=1)
        task = measured.rows[-1]
        cosines = measured.rows @ task / (norms * norms[-1]).clamp_min(
            torch.finfo(norms.dtype).tiny)
        report = {f'gradient_norm.{TASK}': norms[-1]}
        # Levels that no image selected are left out. tolist() waits for the
        # device, once in report_every iterations.
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
