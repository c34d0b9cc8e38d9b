"""One iteration of training: from a :class:`.StepPlan` and a batch to a
:class:`StepOutput`.

:func:`run_step` is the whole iteration. :func:`distil` is the part of it that
runs inside the wrapper of distributed training.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmrlkd.distillation.features.levels import StudentMaps
from mmrlkd.distillation.selection.descriptors import Batch, Descriptions
from mmrlkd.distillation.selection.signals import BatchSignals
from mmrlkd.distillation.teacher.lazy import LazyPyramid
from mmrlkd.distillation.weighting.balancing import LevelTerms
from mmrlkd.rl import Rollout
from mmrlkd.structures import Choice, Selection

from .level_losses import LevelLosses
from .report import describe, describe_none
from .schedule import StepPlan
from .step_effect import SearchInputs, StepEffect

if TYPE_CHECKING:
    from .distiller import PyramidDistiller


@dataclass(frozen=True)
class StepOutput:
    """What one iteration computed; B images, L levels, T steps of an episode.

    Attributes:
        losses: 0-dim (or lists of them, as mmengine allows) by name; their
            sum is minimised. They carry their graphs until the student is
            updated, and are 0-dim and detached afterwards.
        scalars: 0-dim, for the log.
        level_losses: (B, L) distance to the teacher, detached; 0 where it was
            not computed. None where no levels are distilled.
        selection: (B, L) levels and weights; likewise.
        episode: (T, B), played by the selector, which will learn from it.
        terms: what each level adds to ``losses``, before balancing; kept until
            the student is updated.
    """
    losses: dict[str, Tensor]
    scalars: dict[str, Tensor] = field(default_factory=dict)
    level_losses: Tensor | None = None
    selection: Selection | None = None
    episode: Rollout | None = None
    terms: LevelTerms | None = None


@dataclass(frozen=True)
class Distilled:
    """A batch after the forward pass, where levels are distilled.

    Attributes:
        maps: the student's.
        losses: of the levels.
        choice: the selector's.
        levels: (B, L) bool on the CPU, the selected ones.
        terms: L 0-dim losses, weighted by image, mean over the batch.
        descriptions: the descriptors of the images.
    """
    maps: StudentMaps
    losses: LevelLosses
    choice: Choice
    levels: Tensor
    terms: list[Tensor]
    descriptions: Descriptions


def run_step(model: PyramidDistiller, wrapped: nn.Module, data: Any,
             optim_wrapper: OptimWrapper) -> StepOutput:
    """Run one iteration: forward pass, distillation, and the updates of its plan.

    Args:
        model: the distiller.
        wrapped: the distiller, or the wrapper that averages its gradients.
        data: a batch from the data loader.
        optim_wrapper: of the student and the connectors.
    """
    plan = model.schedule.plan()
    if not plan.update_student:
        wrapped = model  # no backward pass: no gradients to average
    # Saved before the forward pass, which changes them: a skipped update must
    # leave no trace of a non-finite batch.
    statistics = model.finite_check.statistics()
    with optim_wrapper.optim_context(wrapped):
        batch = model.data_preprocessor(data, True)
        output: StepOutput = wrapped(
            **batch, mode='step', plan=plan,
            search=search_inputs(model, plan, optim_wrapper))
    losses, weights = balance(model, plan, output, optim_wrapper)
    total, scalars = model.parse_losses(losses)
    if plan.update_student:
        model.finite_check.update(optim_wrapper, total, statistics)
    else:
        model.finite_check.restore(statistics)
    # A loss may have been a list of tensors: parse_losses has their mean.
    values = {key: scalars[key].detach() for key in losses}
    scalars |= output.scalars | weights | count(model, plan, batch)
    scalars |= learn(model, plan)
    return replace(output, terms=None, losses=values, scalars=scalars)


# -- inside the wrapper --------------------------------------------------------


def distil(model: PyramidDistiller, plan: StepPlan, images: Tensor,
           samples: list, search: SearchInputs | None) -> StepOutput:
    """The losses of a training step; shows them to a selector that learns.

    Args:
        model: the distiller.
        plan: of the iteration.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        search: for selectors that learn from held-out images.
    """
    gradients = plan.learn and model.selector.needs_gradients
    output, distilled = forward(model, plan, images, samples, gradients)
    if distilled is None:
        return output
    part, losses = model.distillation, distilled.losses
    scalars = dict(output.scalars)
    if plan.choose:
        model.selector.spend(distilled.choice)
    if plan.learn:
        scalars |= observe(
            model, output, distilled, images, samples, search, gradients)
        scalars['policy_progress'] = torch.tensor(plan.progress)
    part.track(losses, by_image=plan.choose and model.selector.adaptive)
    # The log separates the work of the selection from that of the reward. If
    # the selector learns, work beyond the selected cells is the reward's. If it
    # does not, the selector itself asked for that work (greedy).
    work = losses.work(distilled.levels)
    selected = losses.work_of(distilled.levels) if plan.learn else work
    # If the teacher's head ran for the logit loss, it is counted there.
    head = losses.teacher.ran_head and 'logit_gflops' not in scalars
    scalars |= describe(part, distilled.choice.selection,
                        torch.stack(distilled.terms), selected, work, head)
    return replace(output, scalars=scalars, level_losses=losses.values())


def forward(model: PyramidDistiller, plan: StepPlan, images: Tensor,
            samples: list, gradients: bool = False
            ) -> tuple[StepOutput, Distilled | None]:
    """The losses of a batch. Its only side effects are those of the student's own
    forward pass: normalisation statistics and random numbers.

    Args:
        model: the distiller.
        plan: of the iteration. The heads run only if it updates the student
            or a reward needs their gradient.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        gradients: whether a reward needs gradients at the student's maps.
    """
    if not plan.distil:
        return undistilled(model, images, samples), None
    pyramid = extract_teacher(model, plan, images)
    late = may_leave_out(model, plan)
    if pyramid is not None and not late:
        # The backbone, which every level needs, runs before the student's graph
        # occupies the memory: that lowers the peak.
        pyramid.begin()
    heads = plan.update_student or gradients or not model.distils
    # Without heads nothing is minimised, so the backbone keeps no graph. If it is
    # frozen its maps need no gradient, unless a reward asks for one: `leaves`.
    with (torch.set_grad_enabled(torch.is_grad_enabled() and heads),
          model.tap.recording(leaves=gradients)):
        losses = run_student(model, plan, images, samples, heads)
    maps = model.tap.take()
    scalars: dict[str, Tensor] = {}
    output, distilled = StepOutput(losses, scalars), None
    if pyramid is not None and model.distils:
        differentiable = plan.update_student and torch.is_grad_enabled()
        level_losses, descriptions, choice = choose(
            model, plan, images, samples, maps, pyramid, differentiable)
        levels = choice.selection.levels.to('cpu')
        if late:
            pyramid.begin(levels.any(dim=1).nonzero().flatten())
        # What the selector asked for is known already and is not computed again.
        level_losses.compute(levels)
        weights = choice.selection.weights
        terms = level_losses.terms(levels, weights)
        distilled = Distilled(
            maps, level_losses, choice, levels, terms, descriptions)
        losses['loss_distill'] = model.loss_weight * torch.stack(terms).sum()
        output = replace(
            output, selection=choice.selection, episode=choice.episode,
            terms=LevelTerms([model.loss_weight * term for term in terms],
                             weights.mean(dim=0), levels.any(dim=0).tolist()))
    # Heads that run for a reward alone distil no logits: what they would add is
    # minimised only where the student is updated.
    part = model.logit_distillation
    if heads and part is not None and pyramid is not None and (
            maps.logits is not None) and (
            plan.update_student or not model.distils):
        loss = part(maps.logits, pyramid.logits(), samples)
        losses['loss_logits'] = model.logit_weight * loss
        scalars['distill.logits'] = loss.detach()
        scalars['logit_gflops'] = torch.tensor(part.gflops)
    return output, distilled


def undistilled(model: PyramidDistiller, images: Tensor,
                samples: list) -> StepOutput:
    """The student's own losses, in a phase that does not distil."""
    losses = task_losses(model, images, samples)
    scalars: dict[str, Tensor] = {}
    # Zeros, because mmengine's log repeats the last value of a missing scalar.
    if model.distils:
        losses['loss_distill'] = images.new_zeros(())
        scalars |= describe_none(model.distillation)
    if model.logit_distillation is not None:
        losses['loss_logits'] = images.new_zeros(())
        scalars |= {'distill.logits': torch.tensor(0.0),
                    'logit_gflops': torch.tensor(0.0)}
    return StepOutput(losses, scalars)


def extract_teacher(model: PyramidDistiller, plan: StepPlan,
                    images: Tensor) -> LazyPyramid | None:
    """The teacher's pyramid; computes nothing yet."""
    if model.teacher is None:
        return None
    head = (plan.learn and model.distils
            and model.distillation.describer.needs_teacher_head)
    return model.teacher.extract(images, head)


def may_leave_out(model: PyramidDistiller, plan: StepPlan) -> bool:
    """Whether images may need nothing of the teacher: its backbone then runs after
    the choice, for the others."""
    return (model.teacher is not None and model.distils
            and plan.choose and not plan.learn
            and model.distillation.space.min_levels == 0
            and model.logit_distillation is None
            and not model.teacher.execution.whole_batches)


def task_losses(model: PyramidDistiller, images: Tensor,
                samples: list) -> dict[str, Tensor]:
    """The student's own losses. A loss named ``loss``, as in mmpretrain, becomes
    ``loss_task``: mmengine's log uses ``loss`` for the sum."""
    losses = model.student.loss(images, samples)
    return {'loss_task' if key == 'loss' else key: value
            for key, value in losses.items()}


def run_student(model: PyramidDistiller, plan: StepPlan, images: Tensor,
                samples: list, heads: bool) -> dict[str, Tensor]:
    """Run the parts of the student that are needed.

    Args:
        model: the distiller.
        plan: of the iteration. If the selector chooses or learns, a descriptor
            may need the student's logits.
        images: (B, 3, H, W), preprocessed.
        samples: the annotations, one for each image.
        heads: whether the losses are needed.

    Returns:
        The student's losses; empty without ``heads``.
    """
    described = (model.distils and (plan.choose or plan.learn)
                 and model.distillation.describer.needs_student_head)
    if heads or described:
        losses = task_losses(model, images, samples)
        return losses if heads else {}
    model.adapter.extract(images)
    return {}


def choose(model: PyramidDistiller, plan: StepPlan, images: Tensor,
           samples: list, maps: StudentMaps, pyramid: LazyPyramid,
           differentiable: bool) -> tuple[LevelLosses, Descriptions, Choice]:
    """The selector's choice, with the losses and the descriptors of the batch, of
    which only those are computed that the selector asked for."""
    part = model.distillation
    losses = part.compare(maps.levels, pyramid, differentiable,
                          part.boxes(images, samples))
    descriptions = Descriptions(part.describer, Batch(
        images, samples, model.adapter, part.teacher.adapter, maps, pyramid,
        losses))
    # Two choices where a phase distils all levels and a selector learns from it.
    everything = None if plan.choose else part.select(
        None, maps, losses, descriptions)
    if everything is not None and not plan.learn:
        return losses, descriptions, everything
    choice = part.select(model.selector, maps, losses, descriptions)
    # The warm-up distils all levels, and the selector learns from the choice
    # that it would have made.
    if everything is not None:
        choice = replace(choice, selection=everything.selection)
    return losses, descriptions, choice


def observe(model: PyramidDistiller, output: StepOutput, distilled: Distilled,
            images: Tensor, samples: list, search: SearchInputs | None,
            gradients: bool) -> dict[str, Tensor]:
    """Give the selector the signals of its choice; scalars for the log."""
    if model.selector.horizon > 1:
        # States of later steps hold losses in units of running means. Levels
        # that are never selected need a running mean, too.
        distilled.losses.compute_all(graph=False)
    return model.selector.observe(
        measure(model, output, distilled, images, samples, search, gradients),
        distilled.choice)


def measure(model: PyramidDistiller, output: StepOutput, distilled: Distilled,
            images: Tensor, samples: list, search: SearchInputs | None,
            gradients: bool) -> BatchSignals:
    """The signals of the batch, for rewards; none is computed yet."""
    losses, choice = distilled.losses, distilled.choice
    task, effect = None, None
    # Rewards that compare gradients compare each level's with that of the task
    # alone, without what distillation adds to it.
    if gradients:
        task = model.parse_losses({
            key: loss for key, loss in output.losses.items()
            if key not in ('loss_distill', 'loss_logits')})[0]
    if search is not None:
        effect = StepEffect(
            model.functional, losses, images, samples,
            model.loss_weight * choice.selection.weights, search.held_out,
            model.data_preprocessor, search.optimizer)
    return BatchSignals(
        losses, distilled.maps, model.levels, model.adapter, task, effect,
        distilled.descriptions)


# -- around it -----------------------------------------------------------------


def search_inputs(model: PyramidDistiller, plan: StepPlan,
                  optim_wrapper: OptimWrapper) -> SearchInputs | None:
    """The next held-out batch, if the selector learns from it now."""
    if not (plan.learn and model.selector.needs_held_out):
        return None
    return SearchInputs(model.held_out.next(), optim_wrapper.optimizer)


def balance(model: PyramidDistiller, plan: StepPlan, output: StepOutput,
            optim_wrapper: OptimWrapper
            ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, with the levels' weighed by their gradients where a balancer
    is set; and its scalars.

    Its weights are not updated while the backbone is frozen, because the shared
    parameters, whose gradients it compares, are then different ones.
    """
    if (model.balancing is None or output.terms is None
            or not plan.update_student):
        return output.losses, {}
    task = {key: loss for key, loss in output.losses.items()
            if key != 'loss_distill'}
    balanced, scalars = model.balancing.combine(
        output.terms, model.parse_losses(task)[0], optim_wrapper,
        update=not plan.freeze_backbone)
    return output.losses | balanced, scalars


def count(model: PyramidDistiller, plan: StepPlan,
          batch: dict[str, Any]) -> dict[str, Tensor]:
    """What was updated and skipped, and the images that a search has used."""
    scalars = {
        'updates_student': torch.tensor(float(plan.update_student)),
        'skipped_updates': torch.tensor(float(model.finite_check.skipped)),
    }
    if model.selector.needs_held_out:
        model.functional.count(len(batch['inputs']))
        scalars['search_images'] = torch.tensor(float(model.search_images))
    return scalars


def learn(model: PyramidDistiller, plan: StepPlan) -> dict[str, Tensor]:
    """Update the selector, once it has observed enough; scalars for the log."""
    diagnostics = model.selector.learn() if plan.learn else None
    if diagnostics is None:
        return {}
    return {f'policy.{each.name}': getattr(diagnostics, each.name)
            for each in fields(diagnostics)}
